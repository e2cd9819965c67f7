package selfcheck

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// Two hosts, the second with a peer's addresses as tunnel device and bridge have them: over real sockets
// peers answer at either address and in either family, and a subnet that nobody has doesn't.
func TestProbeRealHosts(t *testing.T) {
	labtest.Need(t)
	lab, err := netlab.New(t.Context(), netlab.Config{Name: "check", Hosts: 2, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	}()
	asker, peer := lab.Host(1), lab.Host(2)
	on(t, peer, func() error { return addAddrs("lo", "10.5.2.0/32", "10.5.3.1/32", "fd00:5:0:2::/128") })
	on(t, asker, func() error {
		return addRoutes("eth0", map[string]netip.Addr{
			"10.5.2.0/24": peer.Addr, "10.5.3.0/24": peer.Addr, "fd00:5:0:2::/64": peer.Addr6,
		})
	})
	peers := []Peer{four, {Subnet: prefix("10.5.3.0/24")}, six, {Subnet: prefix("10.5.4.0/24")}}
	var r Result
	on(t, asker, func() error {
		r = Probe(t.Context(), peers)
		return nil
	})
	for _, a := range r.Answers {
		if want := a.Peer.Subnet != prefix("10.5.4.0/24"); a.Answered != want || want && a.RTT <= 0 {
			t.Errorf("%s: answered %t after %v (%v), want %t", a.Peer, a.Answered, a.RTT, a.Err, want)
		}
	}
	if len(r.Answers) != len(peers) {
		t.Fatalf("%d answers", len(r.Answers))
	}

	// What the peer takes gets smaller: small packets go on, and the verdict names those that don't.
	large := []Peer{four, {four.Subnet, four.Outer, 1500}, {six.Subnet, six.Outer, 1500}}
	var wide, narrow Result
	on(t, asker, func() error {
		wide = Probe(t.Context(), large)
		return nil
	})
	on(t, peer, func() error { return setMTU("eth0", 1400) })
	on(t, asker, func() error {
		narrow = Probe(t.Context(), wide.Answering())
		return nil
	})
	on(t, peer, func() error { return setMTU("eth0", 1500) })
	if v := Compare(wide, narrow); len(wide.Answering()) != 3 || len(v.Lost) != 2 || !strings.Contains(v.Why, "10.5.2.0/24 at 192.0.2.2 with packets of 1500 bytes") {
		t.Errorf("%d answered; verdict %+v", len(wide.Answering()), v)
	}

	// The peer takes one address away: the verdict names it.
	on(t, peer, func() error { return delAddr("lo", "10.5.2.0/32") })
	var after Result
	on(t, asker, func() error {
		after = Probe(t.Context(), r.Answering())
		return nil
	})
	if v := Compare(r, after); v.OK || len(v.Lost) != 1 || v.Lost[0].Peer != four {
		t.Errorf("verdict %+v", v)
	}
}

// on runs f in a host's namespace. Goroutines that f starts are in another, which Probe's sockets don't
// mind: they belong to the namespace they were opened in.
func on(t *testing.T, h *netlab.Host, f func() error) {
	t.Helper()
	if err := h.Do(f); err != nil {
		t.Fatal(err)
	}
}

func addAddrs(device string, prefixes ...string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	for _, p := range prefixes {
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(prefix(p))}); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

func setMTU(device string, mtu int) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	return netlink.LinkSetMTU(link, mtu)
}

func delAddr(device, p string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	return netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(prefix(p))})
}

func addRoutes(device string, routes map[string]netip.Addr) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	for dst, via := range routes {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(prefix(dst)), Gw: via.AsSlice()}
		if err := netlink.RouteAdd(route); err != nil {
			return err
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
