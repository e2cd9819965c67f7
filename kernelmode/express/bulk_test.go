package express_test

import (
	"testing"

	"weft/kernelmode/express"
)

// TestBulkGoesByUserspaceWhereTheUnderlayCuts: both formats; and by the lane again when it no longer does. Whatever
// isn't bulk stays in the lane all the while.
func TestBulkGoesByUserspaceWhereTheUnderlayCuts(t *testing.T) {
	for _, encap := range []express.Encapsulation{express.EncapUDP, express.EncapVXLAN} {
		t.Run(encap.String(), func(t *testing.T) {
			// Flannel's record of a vxlan host has no word about forwarders.
			w := build(t, spec{encap: encap, hosts: []kind{byLane, byLane}, segmented: true, inner6: true, bulk: encap == express.EncapUDP})
			one, two := w.nodes[0], w.nodes[1]
			must(t, transfers(t.Context(), one.container, two.container, two.container.Addr, streamBytes))
			must(t, transfers(t.Context(), one.container, two.container, two.container.Addr6, streamBytes))
			for _, n := range w.nodes {
				c := n.counters(t)
				if c.Passed["out_bulk"] == 0 || c.Passed["in_train"] == 0 || c.Egress.Bytes > streamBytes/2 {
					t.Errorf("host %d: %d bytes went out by the lane, passed %v", n.host.Number, c.Egress.Bytes, c.Passed)
				}
			}

			before := one.counters(t)
			for range 10 {
				must(t, transfers(t.Context(), one.container, two.container, two.container.Addr, 100))
			}
			after := one.counters(t)
			// Each transfer has five packets each way at least; one in 4,096 shares a slot with a bulky one.
			if sent := after.Egress.Packets - before.Egress.Packets; sent < 30 {
				t.Errorf("%d packets of 10 small transfers stayed in the lane: %v", sent, after.Passed)
			}

			must(t, w.lab.SetSegmentation(false))
			w.check(t)
			must(t, transfers(t.Context(), one.container, two.container, two.container.Addr, streamBytes))
			if c := one.counters(t); c.Egress.Bytes < after.Egress.Bytes+streamBytes {
				t.Errorf("%d bytes went out by the lane after the underlay stopped to cut", c.Egress.Bytes-after.Egress.Bytes)
			}
		})
	}
}

// TestBulkStaysWhereNoForwarderReceives: a kernel's own device merges what comes to it, and is told from a forwarder by
// what it sends.
func TestBulkStaysWhereNoForwarderReceives(t *testing.T) {
	w := build(t, spec{encap: express.EncapVXLAN, hosts: []kind{byLane, byKernel}, segmented: true, bulk: true})
	one, two := w.nodes[0], w.nodes[1]
	must(t, transfers(t.Context(), one.container, two.container, two.container.Addr, streamBytes))
	if c := one.counters(t); c.Passed["out_bulk"] != 0 || c.Egress.Bytes < streamBytes {
		t.Errorf("%d bytes went out by the lane, passed %v", c.Egress.Bytes, c.Passed)
	}
}

// check lets every lane look after itself.
func (w *world) check(t *testing.T) {
	t.Helper()
	for _, n := range w.nodes {
		if n.lane != nil {
			must(t, n.host.Do(n.lane.Check))
		}
	}
}
