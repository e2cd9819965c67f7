package express_test

import (
	"testing"
	"time"

	"weft/kernelmode/express"
)

// TestSwitchingBackAndForth opens and detaches a lane again and again under datagrams both ways: the forwarder behind
// it takes over and gives back, and what a switch may lose is one packet each way.
func TestSwitchingBackAndForth(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byUserspace}})
	one, two := w.nodes[0], w.nodes[1]
	must(t, echoes(t.Context(), one.container, two.container, two.container.Addr, 32))
	there, back := startBeat(t, one, two, 200*time.Microsecond), startBeat(t, two, one, 200*time.Microsecond)
	const rounds = 10
	for range rounds {
		there.await(t, 100)
		back.await(t, 100)
		carried := one.counters(t)
		if carried.Egress.Packets == 0 || carried.Ingress.Packets == 0 {
			t.Fatalf("the lane carries nothing: %+v", carried)
		}
		must(t, one.host.Do(func() error { return one.lane.Close(true) }))
		before := one.forwarder.Counters()
		there.await(t, 100)
		back.await(t, 100)
		if after := one.forwarder.Counters(); after.Egress.Packets == before.Egress.Packets || after.Ingress.Packets == before.Ingress.Packets {
			t.Fatalf("userspace carries nothing: %+v", after)
		}
		w.openLane(t, one)
	}
	for _, b := range []*beat{there, back} {
		if lost := b.end(t); lost > 2*rounds {
			t.Errorf("%d of %d datagrams were lost in %d switches", lost, b.sent.Load(), 2*rounds)
		} else {
			t.Logf("%d of %d datagrams were lost in %d switches", lost, b.sent.Load(), 2*rounds)
		}
	}
}
