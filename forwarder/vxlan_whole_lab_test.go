package forwarder_test

import (
	"testing"

	"weft/perf/netlab/labtest"
)

// TestSuperpacketsOfAKernelComeWhole: over a veth that passes them, what a kernel's device sends comes into user space
// without having been cut, either family.
func TestSuperpacketsOfAKernelComeWhole(t *testing.T) {
	labtest.NeedTUN(t)
	for _, outer6 := range []bool{false, true} {
		t.Run(family(outer6), func(t *testing.T) {
			f := build(t, fabricSpec{variants: []variant{fastVXLAN, kernelVXLAN}, hosts: 2, inner4: !outer6, inner6: true, outer6: outer6})
			const bytes = 16 << 20
			before := f.nodes[0].forwarder.Counters().Ingress
			f.transfer(t, 1, 0, outer6, bytes)
			after := f.nodes[0].forwarder.Counters().Ingress
			packets, segments := after.Packets-before.Packets, uint64(bytes/f.spec.mtu)
			if packets == 0 || packets > segments/2 {
				t.Errorf("%d packets came in with %d segments: they were cut on their way", packets, segments)
			}
			f.checkRefusals(t)
			f.checkChecksums(t)
		})
	}
}
