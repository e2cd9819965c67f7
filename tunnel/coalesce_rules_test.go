package tunnel

import (
	"slices"
	"testing"
)

// The cases of the kernel's own GRO test (tools/testing/selftests/net/gro.c), and what it expects:
// the sizes in packets of what comes out.
func TestCoalesceLikeKernelGRO(t *testing.T) {
	full, small := pattern(100, 1), pattern(40, 2)
	type packet = func(p *testPacket)
	for _, c := range []struct {
		name    string
		udp     bool
		change  []packet // one for each packet of a train; nil leaves it
		want    []int
		partial bool
	}{
		{name: "data same size", change: []packet{nil, nil}, want: []int{2}},
		{name: "data large then small", change: []packet{nil, with(small)}, want: []int{2}},
		{name: "data small then large", change: []packet{with(small), with(full)}, want: []int{1, 1}},
		{name: "nothing after the short one", change: []packet{nil, with(small), nil}, want: []int{2, 1}},
		{name: "pure ACKs", change: []packet{with(nil), with(nil)}, want: []int{1, 1}},
		{name: "ACK between data", change: []packet{nil, with(nil), nil}, want: []int{1, 1, 1}},
		{name: "PSH ends", change: []packet{nil, flag(tcpPSH), nil}, want: []int{2, 1}},
		{name: "PSH first", change: []packet{flag(tcpPSH), nil}, want: []int{1, 1}},
		{name: "FIN ends", change: []packet{nil, flag(tcpFIN)}, want: []int{2}},
		{name: "SYN", change: []packet{nil, flag(tcpSYN), nil}, want: []int{1, 1, 1}},
		{name: "RST", change: []packet{nil, flag(tcpRST), nil}, want: []int{1, 1, 1}},
		{name: "URG", change: []packet{nil, flag(tcpURG), nil}, want: []int{1, 1, 1}},
		{name: "CWR", change: []packet{nil, flag(tcpCWR), nil}, want: []int{1, 1, 1}},
		{name: "sequence gap", change: []packet{nil, func(p *testPacket) { p.seq++ }}, want: []int{1, 1}},
		{name: "other ACK", change: []packet{nil, func(p *testPacket) { p.ack++ }}, want: []int{1, 1}},
		{name: "other window", change: []packet{nil, func(p *testPacket) { p.window++ }}, want: []int{1, 1}},
		{name: "other timestamp", change: []packet{nil, func(p *testPacket) { p.options = pattern(12, 9) }}, want: []int{1, 1}},
		{name: "more options", change: []packet{nil, func(p *testPacket) { p.options = pattern(16, 3) }}, want: []int{1, 1}},
		{name: "ECN", change: []packet{nil, func(p *testPacket) { p.tos = 3 }}, want: []int{1, 1}},
		{name: "TOS", change: []packet{nil, func(p *testPacket) { p.tos = 0x20 }}, want: []int{1, 1}},
		{name: "TTL", change: []packet{nil, func(p *testPacket) { p.ttl = 1 }}, want: []int{1, 1}},
		{name: "DF", change: []packet{nil, func(p *testPacket) { p.df = false }}, want: []int{1, 1}},
		{name: "fragments", change: []packet{func(p *testPacket) { p.fragment = 0x2000 }, func(p *testPacket) { p.fragment = 12 }}, want: []int{1, 1}},
		{name: "IP options", change: []packet{func(p *testPacket) { p.ipOption = true }, func(p *testPacket) { p.ipOption = true }}, want: []int{1, 1}},
		{name: "ID with DF", change: []packet{nil, func(p *testPacket) { p.id = 9999 }}, want: []int{2}},
		{name: "ID without DF", change: []packet{func(p *testPacket) { p.df = false }, func(p *testPacket) { p.df, p.id = false, 9999 }}, want: []int{1, 1}},
		{name: "consecutive IDs without DF", change: []packet{func(p *testPacket) { p.df = false }, func(p *testPacket) { p.df = false }}, want: []int{2}},
		{name: "other port", change: []packet{nil, func(p *testPacket) { p.src = 7 }}, want: []int{1, 1}},
		{name: "flows interleaved", change: []packet{nil, func(p *testPacket) { p.src, p.seq = 7, 50 }, func(p *testPacket) { p.seq = 100 }}, want: []int{2, 1}},
		{name: "partial and complete", change: []packet{nil, func(p *testPacket) { p.partial = true }}, want: []int{1, 1}},
		{name: "UDP same size", udp: true, change: []packet{nil, nil, nil}, want: []int{3}},
		{name: "UDP short last", udp: true, change: []packet{nil, with(small), nil}, want: []int{2, 1}},
		{name: "UDP without checksum", udp: true, change: []packet{func(p *testPacket) { p.noSum = true }, func(p *testPacket) { p.noSum = true }}, want: []int{1, 1}},
		{name: "UDP wrong checksum first", udp: true, change: []packet{func(p *testPacket) { p.badSum = true }, nil}, want: []int{1, 1}},
		{name: "UDP wrong checksum later", udp: true, change: []packet{nil, func(p *testPacket) { p.badSum = true }}, want: []int{1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := testPacket{udp: c.udp, df: true, ttl: 0, ack: 1, window: 1, options: pattern(12, 3), payload: full}
			var packets []Packet
			for _, change := range c.change {
				one := spec
				if change != nil {
					change(&one)
				}
				packets = append(packets, one.build())
				spec.seq += uint32(len(one.payload))
				spec.id++
			}
			if got := sizesOf(allLimits, packets); !slices.Equal(got, c.want) {
				t.Errorf("coalesced into %v, want %v", got, c.want)
			}
		})
	}
}

func with(payload []byte) func(p *testPacket) { return func(p *testPacket) { p.payload = payload } }

func flag(f byte) func(p *testPacket) { return func(p *testPacket) { p.flags = f } }

func sizesOf(limits coalesceLimits, packets []Packet) (sizes []int) {
	c := &coalescer{limits: limits}
	for _, w := range c.plan(packets) {
		sizes = append(sizes, w.count)
	}
	return sizes
}

func TestCoalesceStopsAtLimits(t *testing.T) {
	tcp, udp := testPacket{payload: pattern(1400, 1), df: true}, testPacket{udp: true, df: true, payload: pattern(18, 1)}
	for _, c := range []struct {
		name   string
		spec   testPacket
		count  int
		limits coalesceLimits
		want   []int
	}{
		{"TCP up to 65,535 bytes", tcp, 100, allLimits, []int{46, 46, 8}},
		{"UDP up to 64 segments", udp, 130, allLimits, []int{64, 64, 2}},
		{"UDP up to 128 segments", udp, 130, coalesceLimits{udp: true, udpSegments: udpSegmentsNew}, []int{128, 2}},
		{"TCP iovecs", testPacket{payload: pattern(1, 1), df: true}, 600, allLimits, []int{512, 88}},
		{"TSO off", tcp, 3, coalesceLimits{udp: true, udpSegments: 64}, []int{1, 1, 1}},
		{"USO off", udp, 3, coalesceLimits{tcp: true}, []int{1, 1, 1}},
	} {
		if got := sizesOf(c.limits, trainOf(c.spec, c.count)); !slices.Equal(got, c.want) {
			t.Errorf("%s: coalesced into %v, want %v", c.name, got, c.want)
		}
	}
}

// A kernel with the 6.6.44 bug refuses a superpacket whose last segment is shorter than its headers.
func TestCoalesceKeepsShortTailApartForBuggyKernel(t *testing.T) {
	packets := trainOf(testPacket{payload: pattern(100, 1), df: true}, 2)
	tail := testPacket{payload: pattern(5, 1), df: true, seq: 200, id: 2}
	packets = append(packets, tail.build())
	limits := allLimits
	if got := sizesOf(limits, packets); !slices.Equal(got, []int{3}) {
		t.Errorf("without the bug: %v, want one superpacket of 3", got)
	}
	limits.longTail = true
	if got := sizesOf(limits, packets); !slices.Equal(got, []int{2, 1}) {
		t.Errorf("with the bug: %v, want the short tail alone", got)
	}
}

// A superpacket from a peer passes as it is, after what came before it in its flow.
func TestCoalescePassesSuperpacketsInOrder(t *testing.T) {
	packets := trainOf(testPacket{payload: pattern(100, 1), df: true}, 2)
	packets = append(packets, superOf(testPacket{payload: pattern(500, 1), seq: 200, df: true}, 100))
	packets = append(packets, testPacket{payload: pattern(100, 1), seq: 700, df: true}.build())
	c := &coalescer{limits: allLimits}
	var order []int32
	for _, w := range c.plan(packets) {
		order = append(order, w.first)
	}
	if !slices.Equal(order, []int32{0, 2, 3}) {
		t.Errorf("writes begin with packets %v, want 0, 2, 3", order)
	}
}
