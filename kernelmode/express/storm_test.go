package express_test

import (
	"net/netip"
	"testing"
	"time"

	"weft/kernelmode/express"
)

// TestRouteStorm changes routes without pause, hops recycled many times over, while packets flow to two hosts: none
// goes to the wrong one (which would refuse it as not its own), and none is lost.
func TestRouteStorm(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane, byLane}})
	one := w.nodes[0]
	for _, to := range w.nodes[1:] {
		must(t, echoes(t.Context(), one.container, to.container, to.container.Addr, 32))
	}
	beats := []*beat{startBeat(t, one, w.nodes[1], 50*time.Microsecond), startBeat(t, one, w.nodes[2], 50*time.Microsecond)}
	begun := time.Now()
	changes := 0
	for ; time.Since(begun) < 2*time.Second; changes++ {
		to2, to3 := w.routesTo(w.lab.Host(2))[0], w.routesTo(w.lab.Host(3))[0]
		// Another MTU is another hop; the two hosts' hops go through the same numbers by turns.
		to2.MTU, to3.MTU = 1000+changes%400, 1000+(changes*7)%400
		stray := to2
		stray.Subnet, stray.MTU = netip.MustParsePrefix("10.5.200.0/24"), 500+changes%50000
		must(t, one.lane.Change([]express.Route{to2, to3, stray}, nil))
		must(t, one.lane.Change(nil, []netip.Prefix{stray.Subnet}))
	}
	for i, b := range beats {
		if lost := b.end(t); lost != 0 {
			t.Errorf("%d of %d datagrams to host %d were lost", lost, b.sent.Load(), i+2)
		}
	}
	for _, n := range w.nodes {
		for reason, dropped := range n.counters(t).Drops {
			if dropped != 0 {
				t.Errorf("host %d dropped %d packets as %s", n.host.Number, dropped, reason)
			}
		}
	}
	if c := one.counters(t); c.Egress.Packets < beats[0].sent.Load() {
		t.Errorf("the lane carried %+v of %d datagrams", c.Egress, beats[0].sent.Load()+beats[1].sent.Load())
	}
	t.Logf("%d changes, %d and %d datagrams", changes*4, beats[0].sent.Load(), beats[1].sent.Load())
}
