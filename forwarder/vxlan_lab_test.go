package forwarder_test

import (
	"fmt"
	"testing"
	"time"

	"weft/forwarder"
	"weft/perf/netlab/labtest"
)

// TestVXLANMixesCarryEverything: userspace and kernel hosts in one VXLAN network, every pair both ways,
// IPv4 over IPv4 and IPv6 over IPv6 as flannel has it: TCP, UDP and ICMP of 1 to 65,507 bytes, over
// a veth that passes superpackets whole and over one that carries what a wire does.
func TestVXLANMixesCarryEverything(t *testing.T) {
	mixesCarryEverything(t, []vxlanMix{
		{"userspace", []variant{fastVXLAN, slowVXLAN, manyVXLAN}},
		fastAndKernel,
		{"portable and kernel", []variant{slowVXLAN, kernelVXLAN, kernelVXLAN}},
	})
}

type vxlanMix struct {
	name     string
	variants []variant
}

var fastAndKernel = vxlanMix{"fast and kernel", []variant{fastVXLAN, kernelVXLAN, manyVXLAN}}

func mixesCarryEverything(t *testing.T, mixes []vxlanMix) {
	labtest.NeedTUN(t)
	for _, mix := range mixes {
		for _, segmented := range []bool{false, true} {
			name := mix.name
			if segmented {
				name += ", segmented"
			}
			t.Run(name, func(t *testing.T) {
				testEverythingCrosses(t, fabricSpec{variants: mix.variants, hosts: 3, inner4: true, inner6: true, segmented: segmented})
			})
		}
	}
}

// TestKernelPeerThatAsksIsAnswered: without permanent entries a kernel asks for MACs in broadcasts (ARP and
// neighbour solicitation), and packets flow all the same.
func TestKernelPeerThatAsksIsAnswered(t *testing.T) {
	labtest.NeedTUN(t)
	f := testEverythingCrosses(t, fabricSpec{
		variants: []variant{fastVXLAN, kernelVXLAN}, hosts: 2, inner4: true, inner6: true, asking: true,
	})
	if n := f.nodes[0].forwarder.Counters().NeighbourAnswers; n < 2 {
		t.Errorf("%d answers, want one of each family at least", n)
	}
	drops := f.nodes[0].forwarder.Counters().Drops
	if drops[forwarder.RouterSolicit.String()]+drops[forwarder.Broadcast.String()] == 0 {
		t.Error("a device that comes up greets routers and groups: none of it was counted")
	}
}

// TestVXLANOneByteOverTheMTU is TestOneByteOverTheMTUIsAnswered for VXLAN's longer headers, with the
// kernel's device at the other end.
func TestVXLANOneByteOverTheMTU(t *testing.T) {
	labtest.NeedTUN(t)
	f := build(t, fabricSpec{variants: []variant{fastVXLAN, kernelVXLAN}, hosts: 2, inner4: true, inner6: true, spare: 50})
	for _, way := range [][2]*node{{f.nodes[0], f.nodes[1]}, {f.nodes[1], f.nodes[0]}} {
		from, to := way[0].container, way[1].container
		s := openDF(t, from, to, to.Addr)
		if mtu := f.spec.mtu - 50; !s.passes(mtu) {
			t.Errorf("%s to %v: a packet of %d bytes with DF doesn't arrive", from.Name(), to.Addr, mtu)
		} else if err := s.taught(mtu+1, mtu); err != nil {
			t.Errorf("%s to %v: %v", from.Name(), to.Addr, err)
		}
		s = openDF(t, from, to, to.Addr6)
		if mtu := f.spec.mtu - 70; !s.passes(mtu) {
			t.Errorf("%s to %v: a packet of %d bytes with DF doesn't arrive", from.Name(), to.Addr6, mtu)
		} else if err := s.taught(mtu+1, mtu); err != nil {
			t.Errorf("%s to %v: %v", from.Name(), to.Addr6, err)
		}
	}
	f.checkRefusals(t)
}

// TestVXLANRefusesOverTheWire has a kernel's device send what isn't for this host: in another network, to
// another MAC.
func TestVXLANRefusesOverTheWire(t *testing.T) {
	labtest.NeedTUN(t)
	for _, test := range []struct {
		name   string
		spoil  func(*forwarder.VXLAN)
		reason forwarder.Reason
	}{
		{"another VNI", func(v *forwarder.VXLAN) { v.VNI++ }, forwarder.BadVNI},
		{"another MAC", func(v *forwarder.VXLAN) { v.MAC4[5]++ }, forwarder.BadMAC},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := build(t, fabricSpec{variants: []variant{fastVXLAN, kernelVXLAN}, hosts: 2, inner4: true, spoil: test.spoil})
			flow, err := openUDP(t.Context(), f.nodes[1].container.Namespace, f.nodes[0].container.Namespace, f.nodes[0].container.Addr, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer flow.close()
			if _, err := flow.out.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			awaitDrop(t, f.nodes[0], test.reason)
			if n := f.nodes[0].forwarder.Counters().Ingress.Packets; n != 0 {
				t.Errorf("%d packets came in", n)
			}
		})
	}
}

// awaitDrop waits until a node has dropped a packet for the reason.
func awaitDrop(t *testing.T, n *node, reason forwarder.Reason) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for n.forwarder.Counters().Drops[reason.String()] == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("nothing was dropped as %v: %v", reason, n.forwarder.Counters().Drops)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestVXLANLeavesChecksumsToTheKernel has a kernel's device with remcsumtx and remcsumrx at the other end.
func TestVXLANLeavesChecksumsToTheKernel(t *testing.T) {
	labtest.NeedTUN(t)
	for _, segmented := range []bool{false, true} {
		t.Run(fmt.Sprintf("segmented %v", segmented), func(t *testing.T) {
			testEverythingCrosses(t, fabricSpec{
				variants: []variant{fastVXLAN, kernelVXLAN, fastVXLAN}, hosts: 3, inner4: true, inner6: true, remcsum: true, segmented: segmented,
			})
		})
	}
}
