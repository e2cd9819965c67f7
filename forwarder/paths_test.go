package forwarder

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"weft/routes"
	"weft/tunnel"
)

// A knowingConn is a conn to a kernel that believes what the test says about every path.
type knowingConn struct {
	tunnel.Conn
	mtu int // of the path, outer headers included; 0: no route
}

func (c *knowingConn) PathMTU(netip.AddrPort) (int, error) {
	if c.mtu == 0 {
		return 0, errors.New("no route")
	}
	return c.mtu, nil
}

func hopOver(address string, mtu int) *routes.Hop {
	hop := &routes.Hop{Outer: netip.AddrPortFrom(netip.MustParseAddr(address), 8285)}
	hop.SetMTU(mtu)
	return hop
}

func TestPathMTUFollowsTheKernelDownAndUp(t *testing.T) {
	for _, test := range []struct {
		name           string
		peer           string
		before, full   int // the hop's MTU before anything happened, and in the end
		lowered, grown int
	}{
		{"IPv4", "192.0.2.1", 0, 1500 - 28, 1400 - 28, 1450 - 28},
		{"IPv6", "2001:db8::1", 0, 1500 - 48, 1400 - 48, 1450 - 48},
		{"a hop with an MTU of its own doesn't grow past it", "192.0.2.1", 1440, 1440, 1400 - 28, 1450 - 28},
	} {
		t.Run(test.name, func(t *testing.T) {
			hop, conn, p := hopOver(test.peer, test.before), &knowingConn{mtu: 1400}, &paths{}
			if got := p.lower(conn, hop, 1472); got != test.lowered || hop.MTU() != test.lowered {
				t.Fatalf("lowered to %d, hop %d, want %d", got, hop.MTU(), test.lowered)
			}
			now := time.Now()
			for _, step := range []struct{ path, want int }{
				{1400, test.lowered}, {0, test.lowered}, {1300, test.lowered}, {1450, test.grown}, {1500, test.full},
			} {
				conn.mtu = step.path
				p.raise(now)
				if hop.MTU() != step.want {
					t.Errorf("path of %d bytes: hop's MTU is %d, want %d", step.path, hop.MTU(), step.want)
				}
			}
			p.raise(now.Add(pathLifetime + time.Second))
			if hop.MTU() != test.before || len(p.lowered) != 0 {
				t.Errorf("in the end: hop's MTU is %d, %d hops followed, want %d and none", hop.MTU(), len(p.lowered), test.before)
			}
		})
	}
}

// TestGuessedPathMTUIsKept has a kernel that refuses datagrams although it believes that they fit: what it
// believes must not raise the MTU again.
func TestGuessedPathMTUIsKept(t *testing.T) {
	hop, conn, p := hopOver("192.0.2.1", 0), &knowingConn{mtu: 1500}, &paths{}
	if got := p.lower(conn, hop, 1472); got != 1492-28 {
		t.Fatalf("lowered to %d, want the next plateau, %d", got, 1492-28)
	}
	p.raise(time.Now())
	if hop.MTU() != 1492-28 {
		t.Errorf("hop's MTU is %d at once, want %d", hop.MTU(), 1492-28)
	}
	p.raise(time.Now().Add(pathLifetime + time.Second))
	if hop.MTU() != 0 {
		t.Errorf("hop's MTU is %d after its lifetime, want 0", hop.MTU())
	}
}
