package forwarder_test

import (
	"testing"

	"weft/forwarder"
)

// TestVXLANMixesCarryEverything: userspace and kernel hosts in one VXLAN network, every pair both ways,
// IPv4 over IPv4 and IPv6 over IPv6 as flannel has it: TCP, UDP and ICMP of 1 to 65,507 bytes, over
// a veth that passes superpackets whole and over one that carries what a wire does.
func TestVXLANMixesCarryEverything(t *testing.T) {
	needLab(t)
	for _, mix := range []struct {
		name     string
		variants []variant
	}{
		{"userspace", []variant{fastVXLAN, slowVXLAN, manyVXLAN}},
		{"fast and kernel", []variant{fastVXLAN, kernelVXLAN, manyVXLAN}},
		{"portable and kernel", []variant{slowVXLAN, kernelVXLAN, kernelVXLAN}},
	} {
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
	needLab(t)
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
	needLab(t)
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
