package forwarder_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"weft/forwarder"
	"weft/perf/netlab"
	"weft/routes"
)

// The IPIP hosts of a fabric. Their underlay and their containers are IPv4 only.
var (
	fastIPIP   = variant{name: "IPIP", queues: openFastQueues, workers: 1, encap: routes.EncapIPIP}
	manyIPIP   = variant{name: "IPIP of many workers", queues: openFastQueues, workers: 2, encap: routes.EncapIPIP}
	slowIPIP   = variant{name: "IPIP, portable queue", queues: openPortableQueues, workers: 1, encap: routes.EncapIPIP}
	kernelIPIP = variant{name: "kernel IPIP", kernel: true, encap: routes.EncapIPIP}
)

func TestIPIPCarriesEverything(t *testing.T) {
	needLab(t)
	testIPIP(t, fastIPIP, slowIPIP, manyIPIP)
}

// testIPIP has hosts of these variants carry everything between each other, over an underlay that passes
// superpackets whole and over one that doesn't, and answer what is too big. On a kernel with the ipip
// module the kernel's own devices may be among them.
func testIPIP(t *testing.T, variants ...variant) {
	for _, segmented := range []bool{false, true} {
		t.Run(fmt.Sprintf("segmented %v", segmented), func(t *testing.T) {
			testEverythingCrosses(t, fabricSpec{variants: variants, hosts: len(variants), inner4: true, segmented: segmented})
		})
	}
	t.Run("one byte over the MTU", func(t *testing.T) {
		f := build(t, fabricSpec{variants: variants[:2], hosts: 2, inner4: true, spare: 20})
		s := openDF(t, f.nodes[0].container, f.nodes[1].container, f.nodes[1].container.Addr)
		if !s.passes(f.mtu()) {
			t.Errorf("a packet of %d bytes with DF doesn't arrive", f.mtu())
		} else if err := s.taught(f.mtu()+1, f.mtu()); err != nil {
			t.Error(err)
		}
		f.checkRefusals(t)
	})
}

// addKernelIPIP makes flannel's device and its routes, in the current namespace.
func (f *fabric) addKernelIPIP(host *netlab.Host) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "flannel.ipip", f.deviceMTU()
	if err := netlink.LinkAdd(&netlink.Iptun{LinkAttrs: attrs, Local: host.Addr.AsSlice(), PMtuDisc: 1}); err != nil {
		return fmt.Errorf("adding ipip device: %w", err)
	}
	device, err := netlink.LinkByName(attrs.Name)
	if err != nil {
		return err
	}
	base := netip.PrefixFrom(f.subnets(host.Number)[0].Addr(), 32)
	if err := netlink.AddrAdd(device, &netlink.Addr{IPNet: prefixNet(base)}); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(device); err != nil {
		return err
	}
	for _, peer := range f.lab.Hosts() {
		if peer == host {
			continue
		}
		if err := netlink.RouteReplace(&netlink.Route{
			LinkIndex: device.Attrs().Index, Dst: prefixNet(f.subnets(peer.Number)[0]), Gw: peer.Addr.AsSlice(), Flags: int(netlink.FLAG_ONLINK),
		}); err != nil {
			return fmt.Errorf("adding route to peer %d: %w", peer.Number, err)
		}
	}
	return nil
}

// TestIPIPRefusesWhatComesFromElsewhere: the checks of all formats hold for this one too, over a real socket.
func TestIPIPRefusesWhatComesFromElsewhere(t *testing.T) {
	needLab(t)
	f := build(t, fabricSpec{variants: []variant{fastIPIP}, hosts: 2, inner4: true})
	// Host 2 takes host 1's subnet for host 3's, whom nobody has heard of.
	elsewhere := &routes.Hop{Outer: netip.MustParseAddrPort("10.99.0.77:0"), Encapsulation: routes.EncapIPIP}
	if err := f.nodes[1].live.Update(routes.Route{Subnet: f.subnets(1)[0], Hop: elsewhere}); err != nil {
		t.Fatal(err)
	}
	flow, err := openUDP(t.Context(), f.nodes[0].container.Namespace, f.nodes[1].container.Namespace, f.nodes[1].container.Addr, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer flow.close()
	if _, err := flow.out.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	awaitDrop(t, f.nodes[1], forwarder.UnknownPeer)
}
