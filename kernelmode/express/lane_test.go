package express_test

import (
	"testing"

	"weft/kernelmode/express"
)

// TestLaneCarriesEverything: lane to lane, everything but fragments and what comes first of all goes by the lane.
func TestLaneCarriesEverything(t *testing.T) {
	for _, test := range []struct {
		name string
		spec spec
	}{
		{"udp", spec{encap: express.EncapUDP}},
		{"udp, both inner families", spec{encap: express.EncapUDP, inner6: true}},
		{"udp, segmented", spec{encap: express.EncapUDP, inner6: true, segmented: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.spec.hosts = []kind{byLane, byLane}
			w := build(t, test.spec)
			everythingCrosses(t, w)
			w.checkLanes(t)
		})
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
		if least := families * 2 * streamBytes; c.Egress.Bytes < least || c.Ingress.Bytes < least {
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
