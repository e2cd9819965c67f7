package tunnel_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

func listenIPIP(local string, part tunnel.Part, modes tunnel.Modes) (*tunnel.FastConn, error) {
	return tunnel.ListenIPIPConn(netip.MustParseAddr(local), part, tunnel.ConnOptions{}, modes)
}

func TestIPIPConn(t *testing.T) {
	for name, modes := range map[string]tunnel.Modes{"batches": {}, "singly": {Batch: tunnel.Off}} {
		t.Run(name, func(t *testing.T) {
			space := tunneltest.NewNamespace(t)
			tunneltest.TestConn(t, func(t *testing.T) (a, b tunnel.Conn) {
				space.Do(t, func() error {
					first, err := listenIPIP("127.0.0.1", tunnel.Part{}, modes)
					if err != nil {
						return err
					}
					t.Cleanup(func() { first.Close() })
					second, err := listenIPIP("127.0.0.2", tunnel.Part{}, modes)
					if err != nil {
						return err
					}
					t.Cleanup(func() { second.Close() })
					a, b = first, second
					return nil
				})
				return a, b
			})
		})
	}
}

// TestIPIPConnsDivideFlows: each of three sockets on one address gets its own flows and no other's.
func TestIPIPConnsDivideFlows(t *testing.T) {
	const parts, flows, rounds = 3, 30, 4
	var conns []*tunnel.FastConn
	tunneltest.NewNamespace(t).Do(t, func() error {
		for i := range parts {
			c, err := listenIPIP("127.0.0.1", tunnel.Part{Index: i, Of: parts}, tunnel.Modes{})
			if err != nil {
				return err
			}
			defer c.Close()
			c.SetNonblocking()
			conns = append(conns, c)
		}
		sender, err := listenIPIP("127.0.0.2", tunnel.Part{}, tunnel.Modes{})
		if err != nil {
			return err
		}
		defer sender.Close()
		for range rounds {
			var out []tunnel.Datagram
			for i := range flows {
				flow := tunneltest.Flow{Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 5, 1, byte(i)}), 1), Dst: netip.MustParseAddrPort("10.5.2.20:2")}
				out = append(out, tunnel.Datagram{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Payload: flow.UDP(nil)})
			}
			if n, err := sender.WriteBatch(out); n != flows || err != nil {
				return fmt.Errorf("sent %d: %w", n, err)
			}
		}
		owner, total := map[byte]int{}, 0
		for i, c := range conns {
			in := make([]tunnel.Datagram, 16)
			for {
				n, err := c.ReadBatch(in)
				if err != nil {
					break // loopback delivers before sending returns: nothing more is there
				}
				total += n
				for _, d := range in[:n] {
					if other, known := owner[d.Payload[15]]; known && other != i {
						t.Errorf("flow %d came to sockets %d and %d", d.Payload[15], other, i)
					}
					owner[d.Payload[15]] = i
				}
			}
		}
		if total != flows*rounds {
			t.Errorf("%d packets came, %d were sent", total, flows*rounds)
		}
		used := map[int]bool{}
		for _, i := range owner {
			used[i] = true
		}
		if len(used) != parts {
			t.Errorf("%d flows went to %d of %d sockets", flows, len(used), parts)
		}
		return nil
	})
}

func TestIPIPConnRefuses(t *testing.T) {
	for _, test := range []struct {
		local string
		part  tunnel.Part
		want  string
	}{
		{"::1", tunnel.Part{}, "not an IPv4 address"},
		{"127.0.0.1", tunnel.Part{Index: 2, Of: 2}, "no part 2 of 2"},
		{"192.0.2.77", tunnel.Part{}, "choose an address of this host"},
	} {
		tunneltest.NewNamespace(t).Do(t, func() error {
			_, err := listenIPIP(test.local, test.part, tunnel.Modes{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s, %+v: %v, want %q", test.local, test.part, err, test.want)
			}
			return nil
		})
	}
}
