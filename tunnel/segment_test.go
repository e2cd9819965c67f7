package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

func sizeName(n int) string { return fmt.Sprintf("%dB", n) }

// superOf returns a superpacket as a TUN device hands it over: lengths of the whole, partial checksum.
func superOf(spec testPacket, size int) Packet {
	spec.partial = true
	p := spec.build()
	switch {
	case spec.udp:
		p.GSO.Kind = GSOUDP
	case spec.v6:
		p.GSO.Kind = GSOTCP6
	default:
		p.GSO.Kind = GSOTCP4
	}
	p.GSO.SegmentSize = uint16(size)
	h, _ := parseHeaders(p.Data)
	p.GSO.HeaderLen = uint16(h.all)
	return p
}

// segmentsOf returns the packets a superpacket stands for, each built on its own.
func segmentsOf(spec testPacket, size int) (want []Packet) {
	payload := spec.payload
	for i := 0; len(payload) > 0; i++ {
		one := spec
		one.payload = payload[:min(size, len(payload))]
		payload = payload[len(one.payload):]
		one.id += uint16(i)
		one.seq += uint32(i * size)
		if i > 0 {
			one.flags &^= tcpCWR
		}
		if len(payload) > 0 {
			one.flags &^= tcpFIN | tcpPSH
		}
		want = append(want, one.build())
	}
	return want
}

// segmentCases are superpackets of both families and transports, with every shape of last segment.
func segmentCases() (cases []testPacket) {
	for _, length := range []int{1, 99, 100, 101, 1000, 1033, 2999} {
		for _, v6 := range []bool{false, true} {
			for _, udp := range []bool{false, true} {
				cases = append(cases, testPacket{
					v6: v6, udp: udp, payload: pattern(length, length), id: 65530, seq: 0xfffffe00, ack: 7, window: 9,
					flags: tcpPSH | tcpFIN | tcpCWR, options: pattern(12, 5), df: true, tos: 3,
				})
			}
		}
	}
	return cases
}

func TestSegmentEqualsPacketsBuiltOneByOne(t *testing.T) {
	for _, size := range []int{100, 33} {
		for _, spec := range segmentCases() {
			for _, reserve := range []int{0, 8, 22} {
				checkSegments(t, spec, size, Cut{Reserve: reserve})
				checkSegments(t, spec, size, Cut{Reserve: reserve, LeavePartial: true})
			}
		}
	}
}

func checkSegments(t *testing.T, spec testPacket, size int, cut Cut) {
	t.Helper()
	p := superOf(spec, size)
	got, err := NewSegmenter().Append(nil, &p, cut)
	if err != nil {
		t.Fatalf("%+v: %v", spec, err)
	}
	spec.partial = cut.LeavePartial
	want := segmentsOf(spec, size)
	if len(got) != len(want) {
		t.Fatalf("%d segments, want %d", len(got), len(want))
	}
	for i := range got {
		if len(got[i].Head) < cut.Reserve {
			t.Fatalf("segment %d: no room for the encapsulation header", i)
		}
		if packet := joined(got[i], cut.Reserve); !bytes.Equal(packet, want[i].Data) {
			t.Errorf("segment %d of %d (v6 %v udp %v %+v):\n got %x\nwant %x", i, len(got), spec.v6, spec.udp, cut, packet, want[i].Data)
		}
	}
}

func joined(d Datagram, reserve int) []byte {
	return append(bytes.Clone(d.Head[reserve:]), d.Payload...)
}

func TestSegmentBorrowsPayload(t *testing.T) {
	p := superOf(testPacket{payload: pattern(1000, 1)}, 100)
	got, err := NewSegmenter().Append(nil, &p, Cut{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if &got[i].Payload[0] != &p.Data[int(p.GSO.HeaderLen)+100*i] {
			t.Fatalf("payload of segment %d was copied", i)
		}
	}
}

func TestSegmentOrdinaryPacket(t *testing.T) {
	spec := testPacket{payload: pattern(50, 1)}
	want := spec.build()
	spec.partial = true
	p := spec.build()
	got, err := NewSegmenter().Append(nil, &p, Cut{Reserve: 8})
	if err != nil || len(got) != 1 || len(got[0].Head) != 8 || !bytes.Equal(got[0].Payload, want.Data) {
		t.Fatalf("%+v, %v; want the packet with its checksum complete and 8 bytes in front", got, err)
	}
	p = spec.build()
	if got, _ = NewSegmenter().Append(nil, &p, Cut{LeavePartial: true}); bytes.Equal(got[0].Payload, want.Data) {
		t.Fatal("LeavePartial completed the checksum")
	}
}

func TestSegmentArenaFullLeavesNothingBehind(t *testing.T) {
	s := NewSegmenter()
	p := superOf(testPacket{payload: pattern(60000, 1)}, 100)
	var out []Datagram
	var err error
	for err == nil {
		out, err = s.Append(out, &p, Cut{})
	}
	if !errors.Is(err, ErrArenaFull) || len(out) == 0 || len(out)%600 != 0 {
		t.Fatalf("%d datagrams, error %v; want whole superpackets and ErrArenaFull", len(out), err)
	}
	s.Reset()
	if _, err := s.Append(nil, &p, Cut{}); err != nil {
		t.Fatalf("after Reset: %v", err)
	}
}

func TestSegmentRefusesContradictions(t *testing.T) {
	for name, spoil := range map[string]func(*Packet){
		"segment size 0":         func(p *Packet) { p.GSO.SegmentSize = 0 },
		"wrong family":           func(p *Packet) { p.GSO.Kind = GSOTCP6 },
		"wrong transport":        func(p *Packet) { p.GSO.Kind = GSOUDP },
		"checksum start outside": func(p *Packet) { p.GSO.ChecksumStart = 60000 },
		"headers only":           func(p *Packet) { p.Data = p.Data[:40] },
		"no packet":              func(p *Packet) { p.Data = nil },
		"data offset too large":  func(p *Packet) { p.Data = p.Data[:50]; p.Data[32] = 0xf0 },
	} {
		p := superOf(testPacket{payload: pattern(500, 1)}, 100)
		spoil(&p)
		if out, err := NewSegmenter().Append(nil, &p, Cut{}); !errors.Is(err, ErrMalformed) || len(out) != 0 {
			t.Errorf("%s: %d datagrams, error %v; want ErrMalformed", name, len(out), err)
		}
	}
}

func FuzzSegment(f *testing.F) {
	for _, spec := range segmentCases()[:8] {
		p := superOf(spec, 100)
		f.Add(p.Data, uint8(p.GSO.Kind), uint16(100), true, p.GSO.ChecksumStart, p.GSO.ChecksumOffset)
	}
	s := NewSegmenter()
	f.Fuzz(func(t *testing.T, data []byte, kind uint8, size uint16, partial bool, start, offset uint16) {
		h := vnetHeader{gsoType: kind, segmentSize: size, checksumStart: start, checksumOffset: offset}
		if partial {
			h.flags = vnetNeedsChecksum
		}
		g, ok := h.metadata(data)
		if !ok {
			return
		}
		s.Reset()
		p := Packet{Data: data, GSO: g}
		out, err := s.Append(nil, &p, Cut{Reserve: 4})
		if err != nil {
			return
		}
		total := 0
		for _, d := range out {
			total += len(d.Payload)
		}
		if want := len(data) - int(g.HeaderLen); g.Kind != GSONone && total != want {
			t.Errorf("%d payload bytes in %d segments, want %d", total, len(out), want)
		}
	})
}

func TestSegmentAllocatesNothing(t *testing.T) {
	s, out := NewSegmenter(), make([]Datagram, 0, 1000)
	p := superOf(testPacket{payload: pattern(60000, 1)}, 1400)
	if n := testing.AllocsPerRun(100, func() {
		s.Reset()
		out, _ = s.Append(out[:0], &p, Cut{Reserve: 8})
	}); n != 0 {
		t.Errorf("%v allocations per superpacket, want 0", n)
	}
}

func BenchmarkSegment(b *testing.B) {
	for _, partial := range []bool{false, true} {
		b.Run(fmt.Sprintf("60000B/partial=%v", partial), func(b *testing.B) {
			s, out := NewSegmenter(), make([]Datagram, 0, 1000)
			p := superOf(testPacket{payload: pattern(60000, 1)}, 1400)
			b.SetBytes(60000)
			b.ReportAllocs()
			for b.Loop() {
				s.Reset()
				out, _ = s.Append(out[:0], &p, Cut{Reserve: 8, LeavePartial: partial})
			}
		})
	}
}
