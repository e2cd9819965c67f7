package express_test

import (
	"testing"

	"weft/kernelmode/express"
	"weft/perf/netlab"
)

// TestPathShrinks: a router on the way takes less than the hosts' own devices. Its ICMP errors name source ports that
// no socket has; all the same transfers get through, and inner senders are told.
func TestPathShrinks(t *testing.T) {
	for _, m := range []mix{
		{"udp", spec{encap: express.EncapUDP, inner6: true}},
		{"udp over IPv6", spec{encap: express.EncapUDP, inner6: true, outer6: true}},
		{"vxlan", spec{encap: express.EncapVXLAN, inner6: true}},
	} {
		t.Run(m.name, func(t *testing.T) {
			m.spec.hosts, m.spec.topology = []kind{byLane, byLane}, netlab.Routed
			// Between lanes of type vxlan, a transfer over an underlay that cuts would go by userspace.
			m.spec.segmented = m.spec.encap != express.EncapVXLAN
			w := build(t, m.spec)
			from, to := w.nodes[0], w.nodes[1]
			must(t, transfers(t.Context(), from.container, to.container, to.container.Addr, streamBytes))
			for _, n := range w.nodes {
				must(t, n.host.Uplink.SetPathMTU(1400))
			}
			before := from.counters(t)
			must(t, transfers(t.Context(), from.container, to.container, to.container.Addr, streamBytes))
			must(t, transfers(t.Context(), from.container, to.container, to.container.Addr6, streamBytes))
			after := from.counters(t)
			if after.Passed["out_too_big"] == before.Passed["out_too_big"] {
				t.Error("nothing was too big: the path didn't shrink")
			}
			if told := from.forwarder.Counters().ICMPSent; told == 0 {
				t.Error("nobody told the senders")
			}
			if carried := after.Egress.Bytes - before.Egress.Bytes; carried < streamBytes {
				t.Errorf("the lane carried %d bytes of %d: it didn't come back", carried, 2*streamBytes)
			}
		})
	}
}

// TestOneByteOverTheMTU: a packet of the fabric's MTU goes by the lane, whole; see forwarder's test for what becomes
// of larger ones, which are its business.
func TestOneByteOverTheMTU(t *testing.T) {
	w := build(t, spec{encap: express.EncapUDP, hosts: []kind{byLane, byLane}, spare: 100})
	from, to := w.nodes[0], w.nodes[1]
	must(t, echoes(t.Context(), from.container, to.container, to.container.Addr, 32))
	for _, size := range []int{w.mtu() - 29, w.mtu() - 28} {
		before := from.counters(t)
		must(t, echoes(t.Context(), from.container, to.container, to.container.Addr, size))
		if after := from.counters(t); after.Egress.Packets == before.Egress.Packets || after.Egress.Bytes-before.Egress.Bytes < uint64(size) {
			t.Errorf("%d bytes didn't go by the lane: %+v", size, after)
		}
	}
}
