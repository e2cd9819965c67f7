package kernelmode_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink"

	"weft/kernelmode"
	"weft/kernelmode/kerneltest"
)

func TestWatchUnderlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kerneltest.New()
		eth0 := machine()[1]
		k.SetInterfaces(eth0)
		s := kernelmode.Selection{IPv4: true}
		known, err := kernelmode.SelectInterface(k, s)
		must(t, err)
		s = s.Follow(known)

		type change struct {
			u   kernelmode.Underlay
			err error
		}
		changes := make(chan change, 8)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- kernelmode.WatchUnderlay(ctx, k, s, known, func(u kernelmode.Underlay, err error) { changes <- change{u, err} })
		}()
		time.Sleep(time.Minute)
		if len(changes) != 0 {
			t.Fatalf("told of a change that wasn't one: %+v", <-changes)
		}
		eth0.MTU = 1400
		k.SetInterfaces(eth0)
		if c := <-changes; c.u.MTU != 1400 || c.err != nil {
			t.Errorf("after the MTU changed: %+v", c)
		}
		k.SetInterfaces(machine()[0])
		if c := <-changes; c.err == nil {
			t.Errorf("after the interface went: %+v", c)
		}
		eth0.Index = 44
		k.SetInterfaces(machine()[2], eth0) // beside one that it didn't follow
		if c := <-changes; c.u.Name != "eth0" || c.u.Index != 44 || c.err != nil {
			t.Errorf("after the interface came back: %+v", c)
		}
		cancel()
		must(t, <-done)
		if len(changes) != 0 {
			t.Errorf("told once more: %+v", <-changes)
		}
	})
}

// The reader of the real kernel, against a namespace with every sort of address.
func TestSelectInterfaceOnLinux(t *testing.T) {
	w := newReal(t)
	must(t, w.hand.Run(func() error {
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "kmu0", MTU: 1400}, PeerName: "kmu1"}
		must(t, netlink.LinkAdd(link))
		must(t, netlink.LinkSetUp(link))
		peer, err := netlink.LinkByName("kmu1")
		must(t, err)
		must(t, netlink.LinkSetUp(peer))
		for _, a := range []string{"192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64"} {
			address, err := netlink.ParseAddr(a)
			must(t, err)
			if a == "2001:db8::1/64" {
				address.Flags = 0x02 // IFA_F_NODAD
			}
			must(t, netlink.AddrAdd(link, address))
		}
		via, _ := netlink.ParseIPNet("192.0.2.254/32")
		return netlink.RouteAdd(&netlink.Route{Gw: via.IP, Priority: 50, LinkIndex: link.Index})
	}))
	u, err := kernelmode.SelectInterface(w, kernelmode.Selection{IPv4: true, IPv6: true})
	must(t, err)
	if u.Name != "kmu0" || u.MTU != 1400 || u.IPv4 != addr("192.0.2.1") || u.IPv6 != addr("2001:db8::1") || u.Index == 0 {
		t.Errorf("chose %+v", u)
	}
	u, err = kernelmode.SelectInterface(w, kernelmode.Selection{IPv4: true, CanReach: addr("198.51.100.1")})
	must(t, err)
	if u.Name != "kmu0" {
		t.Errorf("reach chose %+v", u)
	}
	if _, err = kernelmode.SelectInterface(w, kernelmode.Selection{IPv6: true, CanReach: addr("2001:db9::1")}); err == nil {
		t.Error("reached an address without a route")
	}
}
