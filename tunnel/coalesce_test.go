package tunnel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

var allLimits = coalesceLimits{tcp: true, udp: true, udpSegments: udpSegmentsOld}

// bytesOf returns what one write hands to the kernel, as the kernel understands it.
func bytesOf(t *testing.T, c *coalescer, w write) Packet {
	t.Helper()
	data := bytes.Clone(w.head[vnetHeaderLen:])
	count := 0
	for i := w.first; i >= 0; i = c.next[i] {
		data = append(data, c.packets[i].Data[w.skip:]...)
		count++
	}
	if count != w.count {
		t.Fatalf("write counts %d packets and lists %d", w.count, count)
	}
	g, ok := decodeVnet(w.head).metadata(data)
	if !ok {
		t.Fatalf("virtio header %x contradicts its packet %x", w.head[:vnetHeaderLen], data)
	}
	return Packet{Data: data, GSO: g}
}

// expand cuts every write back into packets with complete checksums, in order.
func expand(t *testing.T, c *coalescer, writes []write) (packets [][]byte) {
	t.Helper()
	for _, w := range writes {
		p := bytesOf(t, c, w)
		checkWhole(t, p)
		out, err := NewSegmenter().Append(nil, &p, Cut{})
		if err != nil {
			t.Fatalf("cutting a coalesced packet: %v", err)
		}
		for _, d := range out {
			packets = append(packets, joined(d, 0))
		}
	}
	return packets
}

// checkWhole verifies what the kernel would: lengths, IP checksum, transport checksum of a superpacket.
func checkWhole(t *testing.T, p Packet) {
	t.Helper()
	if p.GSO.Kind == GSONone {
		return
	}
	h, ok := parseHeaders(p.Data)
	if !ok || h.all != int(p.GSO.HeaderLen) || len(p.Data) > 65535 {
		t.Fatalf("superpacket of %d bytes has wrong lengths: %x", len(p.Data), p.Data[:60])
	}
	if !h.v6 && naiveSum(p.Data[:h.ip]) != 0 {
		t.Fatal("superpacket has a wrong IP checksum")
	}
	pseudo := naivePseudo(p.Data, h.ip, h.protocol)
	field := binary.BigEndian.Uint16(p.Data[h.ip+int(p.GSO.ChecksumOffset):])
	if p.GSO.PartialChecksum {
		if field != ^naiveSum(pseudo) {
			t.Fatalf("partial checksum %#04x, want the pseudo header's %#04x", field, ^naiveSum(pseudo))
		}
		return
	}
	if sum := naiveSum(append(pseudo, p.Data[h.ip:]...)); sum != 0 {
		t.Fatalf("superpacket does not verify: its checksum is off by %#04x", sum)
	}
}

// randomFlows makes a batch of interleaved flows with the irregularities that real ones have.
func randomFlows(random *rand.Rand, n int) (packets []Packet) {
	specs := make([]testPacket, 1+random.IntN(10))
	for i := range specs {
		specs[i] = testPacket{
			v6: random.IntN(2) == 0, udp: random.IntN(3) == 0, df: random.IntN(2) == 0, partial: random.IntN(3) == 0,
			src: uint16(1000 + i), seq: random.Uint32(), ack: 5, window: 100, options: pattern(4*random.IntN(4), i),
			id: uint16(random.Uint32()), payload: pattern(1+random.IntN(120), i),
		}
	}
	at := 0
	for len(packets) < n {
		if random.IntN(4) == 0 {
			at = random.IntN(len(specs))
		}
		spec := &specs[at]
		one := *spec
		disturb(random, &one)
		packets = append(packets, one.build())
		spec.seq += uint32(len(one.payload))
		spec.id++
	}
	return packets
}

// disturb now and then makes a packet differ from its predecessor.
func disturb(random *rand.Rand, p *testPacket) {
	switch random.IntN(40) {
	case 0:
		p.payload = p.payload[:random.IntN(len(p.payload))]
	case 1:
		p.payload = append(p.payload, p.payload...)
	case 2:
		p.flags = 1 << random.IntN(8)
	case 3:
		p.ttl = 1
	case 4:
		p.tos = 3
	case 5:
		p.ack++
	case 6:
		p.seq++
	case 7:
		p.fragment = 0x2000
	case 8:
		p.noSum = true
	case 9:
		p.partial = !p.partial
	case 10:
		p.window++
	case 11:
		p.ipOption = true
	case 12:
		p.id += 7
	}
}

// comparable returns a packet as it must come out again: complete, and without an ID that means nothing.
func comparableBytes(b []byte) string {
	b = bytes.Clone(b)
	if b[0]>>4 == 4 && binary.BigEndian.Uint16(b[ipv4Fragment:])&ipv4DontFragment != 0 {
		clear(b[ipv4ID : ipv4ID+2])
		clear(b[ipv4Checksum : ipv4Checksum+2])
	}
	return string(b)
}

// flowOf names the flow of a packet for the order check: family, transport and port.
func flowOf(b []byte) string {
	ip, protocol := int(b[0]&15)*4, b[ipv4Protocol]
	if b[0]>>4 == 6 {
		ip, protocol = ipv6HeaderLen, b[ipv6Next]
	}
	return fmt.Sprint(b[0]>>4, protocol, b[ip:ip+4])
}

func TestSegmentOfCoalesceIsIdentity(t *testing.T) {
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 7))
		c := &coalescer{limits: allLimits}
		if seed%3 == 0 {
			c.limits.longTail = true
		}
		packets := randomFlows(random, 60)
		want := map[string][]string{}
		for _, p := range packets {
			q := Packet{Data: bytes.Clone(p.Data), GSO: p.GSO}
			FinishChecksum(&q)
			want[flowOf(q.Data)] = append(want[flowOf(q.Data)], comparableBytes(q.Data))
		}
		before := cloneAll(packets)
		got := map[string][]string{}
		for _, b := range expand(t, c, c.plan(packets)) {
			got[flowOf(b)] = append(got[flowOf(b)], comparableBytes(b))
		}
		for flow, packets := range want {
			if !slices.Equal(got[flow], packets) {
				t.Fatalf("seed %d: flow %s came out changed or reordered:\n got %x\nwant %x", seed, flow, got[flow], packets)
			}
		}
		for i := range packets {
			if !bytes.Equal(before[i], packets[i].Data) {
				t.Fatalf("seed %d: planning changed packet %d, which may have to go out singly", seed, i)
			}
		}
	}
}

func cloneAll(packets []Packet) (all [][]byte) {
	for _, p := range packets {
		all = append(all, bytes.Clone(p.Data))
	}
	return all
}

func FuzzCoalesce(f *testing.F) {
	f.Add(uint64(1), []byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, seed uint64, spoil []byte) {
		packets := randomFlows(rand.New(rand.NewPCG(seed, 1)), 20)
		for i := 0; i+2 < len(spoil); i += 3 { // any byte of any packet may be anything
			p := &packets[int(spoil[i])%len(packets)]
			p.Data[int(spoil[i+1])%len(p.Data)] = spoil[i+2]
		}
		c := &coalescer{limits: allLimits}
		total := 0
		for _, w := range c.plan(packets) {
			total += w.count
			if w.count > 1 {
				bytesOf(t, c, w)
			}
		}
		if total != len(packets) {
			t.Errorf("%d packets in the plan, want %d", total, len(packets))
		}
	})
}

func TestCoalesceAllocatesNothing(t *testing.T) {
	c := &coalescer{limits: allLimits}
	packets := trainOf(testPacket{payload: pattern(1400, 1), df: true}, 45)
	c.plan(packets)
	if n := testing.AllocsPerRun(100, func() { c.plan(packets) }); n != 0 {
		t.Errorf("%v allocations per batch, want 0", n)
	}
}

// trainOf returns n consecutive segments of one flow.
func trainOf(spec testPacket, n int) (packets []Packet) {
	for range n {
		packets = append(packets, spec.build())
		spec.seq += uint32(len(spec.payload))
		spec.id++
	}
	return packets
}

func BenchmarkCoalesce(b *testing.B) {
	for name, spec := range map[string]testPacket{
		"TCP/complete": {payload: pattern(1400, 1), df: true, options: pattern(12, 1)},
		"TCP/partial":  {payload: pattern(1400, 1), df: true, options: pattern(12, 1), partial: true},
		"UDP/complete": {payload: pattern(64, 1), df: true, udp: true},
		"UDP/partial":  {payload: pattern(64, 1), df: true, udp: true, partial: true},
	} {
		b.Run(name, func(b *testing.B) {
			c := &coalescer{limits: allLimits}
			packets := trainOf(spec, 45)
			b.ReportAllocs()
			for b.Loop() {
				c.plan(packets)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/45, "ns/packet")
		})
	}
}
