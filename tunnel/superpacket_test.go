package tunnel

import (
	"bytes"
	"testing"
)

const testMTU = 1450

// What a kernel VXLAN peer over veth hands over comes out as the sender's own superpacket.
func TestSuperpacketTCP(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		spec := testPacket{v6: v6, payload: pattern(20000, 1), options: pattern(12, 1), df: true, partial: true}
		p := spec.build()
		got, ok := Superpacket(p.Data, 0, testMTU)
		if !ok || !got.GSO.PartialChecksum || got.GSO.Kind == GSONone {
			t.Fatalf("v6 %v: %+v, %v", v6, got.GSO, ok)
		}
		size := testMTU - int(got.GSO.HeaderLen)
		out, err := NewSegmenter().Append(nil, &got, Cut{})
		if err != nil {
			t.Fatal(err)
		}
		spec.partial = false
		want := segmentsOf(spec, size)
		if len(out) != len(want) {
			t.Fatalf("v6 %v: %d segments, want %d", v6, len(out), len(want))
		}
		for i := range out {
			if out[i].Len() > testMTU || !bytes.Equal(joined(out[i], 0), want[i].Data) {
				t.Errorf("v6 %v: segment %d of %d bytes is not what the sender's kernel would have cut", v6, i, out[i].Len())
			}
		}
	}
}

// The borders of a UDP superpacket's datagrams are known only from the hint.
func TestSuperpacketUDPNeedsHint(t *testing.T) {
	p := testPacket{udp: true, payload: pattern(5000, 1), partial: true}.build()
	if got, ok := Superpacket(p.Data, 1200, testMTU); !ok || got.GSO.Kind != GSOUDP || got.GSO.SegmentSize != 1200 {
		t.Errorf("with hint: %+v, %v", got.GSO, ok)
	}
	for _, hint := range []int{0, -1, testMTU} {
		if got, ok := Superpacket(p.Data, hint, testMTU); ok {
			t.Errorf("hint %d: accepted as %+v, although the segments are unknown or over the MTU", hint, got.GSO)
		}
	}
}

// Small packets of such a peer come with partial checksums too: the receiver would drop them.
func TestSuperpacketNoticesPartialChecksumOfSmallPackets(t *testing.T) {
	for _, udp := range []bool{false, true} {
		spec := testPacket{udp: udp, payload: pattern(30, 1)}
		want := spec.build()
		if got, ok := Superpacket(want.Data, 0, testMTU); !ok || got.GSO != (GSO{}) {
			t.Errorf("udp %v, complete: %+v, %v; want an ordinary packet", udp, got.GSO, ok)
		}
		spec.partial = true
		p := spec.build()
		got, ok := Superpacket(p.Data, 0, testMTU)
		if FinishChecksum(&got); !ok || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("udp %v, partial: finished as %x, want %x", udp, got.Data, want.Data)
		}
	}
}

func TestSuperpacketRefusesWhatCantBeCut(t *testing.T) {
	big := pattern(3000, 1)
	for name, spec := range map[string]testPacket{
		"fragment":   {payload: big, fragment: 0x2000},
		"later part": {payload: big, fragment: 100},
	} {
		p := spec.build()
		if _, ok := Superpacket(p.Data, 0, testMTU); ok {
			t.Errorf("%s of %d bytes accepted at MTU %d", name, len(p.Data), testMTU)
		}
		if _, ok := Superpacket(p.Data, 0, len(p.Data)); !ok {
			t.Errorf("%s that fits the MTU refused", name)
		}
	}
	icmp := testPacket{payload: big}.build()
	icmp.Data[ipv4Protocol] = 1
	if _, ok := Superpacket(icmp.Data, 0, testMTU); ok {
		t.Error("ICMP larger than the MTU accepted")
	}
}

func FuzzSuperpacket(f *testing.F) {
	f.Add(testPacket{payload: pattern(3000, 1), partial: true}.build().Data, 0)
	f.Add(testPacket{v6: true, udp: true, payload: pattern(3000, 1), partial: true}.build().Data, 1000)
	f.Fuzz(func(t *testing.T, data []byte, hint int) {
		p, ok := Superpacket(data, hint, testMTU)
		if !ok || p.GSO.Kind == GSONone {
			return
		}
		out, err := NewSegmenter().Append(nil, &p, Cut{})
		if err != nil && len(data)/int(p.GSO.SegmentSize) < 2000 {
			t.Fatalf("accepted, and then: %v", err)
		}
		for _, d := range out {
			if d.Len() > testMTU {
				t.Errorf("segment of %d bytes at MTU %d", d.Len(), testMTU)
			}
		}
	})
}
