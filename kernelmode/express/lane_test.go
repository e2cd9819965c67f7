package express_test

import (
	"fmt"
	"testing"

	"weft/kernelmode/express"
)

// TestLaneCarriesEverything: with lanes, userspace forwarders and kernel devices at the other end, everything
// crosses both ways over a veth that passes superpackets whole and over one that carries what a wire does.
func TestLaneCarriesEverything(t *testing.T) {
	crossEverywhere(t, []mix{
		{"udp", spec{encap: express.EncapUDP, inner6: true, hosts: []kind{byLane, byLane, byUserspace}}},
		{"udp over IPv6", spec{encap: express.EncapUDP, inner6: true, outer6: true, hosts: []kind{byLane, byLane}}},
		{"vxlan", spec{encap: express.EncapVXLAN, inner6: true, hosts: []kind{byLane, byLane, byUserspace, byKernel}}},
		{"vxlan over IPv6", spec{encap: express.EncapVXLAN, inner6: true, outer6: true, hosts: []kind{byLane, byLane, byKernel}}},
		{"ipip", spec{encap: express.EncapIPIP, hosts: []kind{byLane, byLane, byUserspace}}},
	})
}

// A mix is a fabric and its name.
type mix struct {
	name string
	spec spec
}

// crossEverywhere runs each mix over both kinds of veth.
func crossEverywhere(t *testing.T, mixes []mix) {
	for _, m := range mixes {
		for _, segmented := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, segmented %v", m.name, segmented), func(t *testing.T) {
				m.spec.segmented = segmented
				w := build(t, m.spec)
				everythingCrosses(t, w)
				w.checkLanes(t)
			})
		}
	}
}

// checkLanes fails unless the transfers went by the lanes, and nothing was dropped there.
func (w *world) checkLanes(t *testing.T) {
	t.Helper()
	families := uint64(1)
	if w.inner6 {
		families = 2
	}
	for _, n := range w.nodes {
		if n.kind != byLane {
			continue
		}
		c := n.counters(t)
		if least := families * streamBytes; c.Egress.Bytes < least || c.Ingress.Bytes < least {
			t.Errorf("host %d: %d bytes out and %d in by the lane, want %d: %v", n.host.Number, c.Egress.Bytes, c.Ingress.Bytes, least, c.Passed)
		}
		for reason, dropped := range c.Drops {
			if dropped != 0 {
				t.Errorf("host %d: the lane dropped %d packets as %s", n.host.Number, dropped, reason)
			}
		}
		t.Logf("host %d: out %+v in %+v passed %v", n.host.Number, c.Egress, c.Ingress, c.Passed)
	}
}
