package tunnel

import (
	"bytes"
	"testing"
)

var (
	macHere  = MAC{0x0e, 0xc5, 0x04, 0xda, 0x1f, 0x80}
	macThere = MAC{0x8e, 0xa8, 0xf3, 0x6c, 0x89, 0xee}
)

// frameAround returns a datagram with p inside.
func frameAround(v VXLAN, p Packet) []byte {
	b := append(make([]byte, VXLANHeaderLen), p.Data...)
	v.Put(b, &p.GSO)
	return b
}

func TestVXLANRoundTrip(t *testing.T) {
	for _, version := range []byte{4, 6} {
		for _, remote := range []bool{false, true} {
			p := segmentForGUE(version, 100)
			want := VXLAN{VNI: MaxVNI, Dst: macHere, Src: macThere, EtherType: EtherTypeIPv4, RemoteSum: remote}
			if version == 6 {
				want.EtherType = EtherTypeIPv6
			}
			wantGSO := p.GSO
			if !remote {
				wantGSO = GSO{}
			}
			got, inner, ok := ParseVXLAN(frameAround(want, p))
			if !ok || got != want || inner.GSO != wantGSO || !bytes.Equal(inner.Data, p.Data) {
				t.Errorf("version %d, remote sum %v: %+v, %+v, %v", version, remote, got, inner.GSO, ok)
			}
		}
	}
}

// The bytes that a Linux device of VNI 1 puts in front of an IPv4 packet, and what it adds for a partial
// TCP checksum with remcsumtx: (14 + 20) / 2 is 0x11. For UDP the upper bit is set.
func TestVXLANBytesAreLinux(t *testing.T) {
	v := VXLAN{VNI: 1, Dst: macThere, Src: macHere, EtherType: EtherTypeIPv4}
	want := []byte{8, 0, 0, 0, 0, 0, 1, 0,
		0x8e, 0xa8, 0xf3, 0x6c, 0x89, 0xee, 0x0e, 0xc5, 0x04, 0xda, 0x1f, 0x80, 8, 0}
	got := make([]byte, VXLANHeaderLen)
	if v.Put(got, nil); !bytes.Equal(got, want) {
		t.Errorf("header % x, want % x", got, want)
	}
	v.RemoteSum = true
	want[1], want[7] = 0x20, 0x11
	p := segmentForGUE(4, 0)
	if v.Put(got, &p.GSO); !bytes.Equal(got, want) {
		t.Errorf("with remote checksum % x, want % x", got, want)
	}
	want[7] = 0x80 | (14+40)/2
	p = segmentForGUE(6, 0)
	p.GSO.ChecksumOffset = udpChecksum
	if v.Put(got, &p.GSO); !bytes.Equal(got, want) {
		t.Errorf("with remote checksum of UDP % x, want % x", got, want)
	}
}

func TestVXLANRefused(t *testing.T) {
	v := VXLAN{VNI: 1, Dst: macThere, Src: macHere, EtherType: EtherTypeIPv4}
	plain := frameAround(v, segmentForGUE(4, 8))
	v.RemoteSum = true
	remote := frameAround(v, segmentForGUE(4, 8))
	for _, test := range []struct {
		name  string
		from  []byte
		spoil func(b []byte) []byte
	}{
		{"empty", plain, func(b []byte) []byte { return nil }},
		{"short header", plain, func(b []byte) []byte { return b[:7] }},
		{"short Ethernet header", plain, func(b []byte) []byte { return b[:VXLANHeaderLen-1] }},
		{"empty frame", plain, func(b []byte) []byte { return b[:VXLANHeaderLen] }},
		{"no VNI flag", plain, func(b []byte) []byte { b[0] = 0; return b }},
		{"group policy without VNI flag", plain, func(b []byte) []byte { b[0] = 0x80; return b }},
		{"GPE's version", plain, func(b []byte) []byte { b[0] |= 0x10; return b }},
		{"GPE's next protocol", plain, func(b []byte) []byte { b[0] |= 4; b[3] = 1; return b }},
		{"reserved flag", plain, func(b []byte) []byte { b[0] |= 1; return b }},
		{"reserved bytes", plain, func(b []byte) []byte { b[3] = 1; return b }},
		{"group bits without G", plain, func(b []byte) []byte { b[1] = 0x40; return b }},
		{"last byte without a reason", plain, func(b []byte) []byte { b[7] = 0x11; return b }},
		{"source is a group", plain, func(b []byte) []byte { b[vxlanSource] |= 1; return b }},
		{"source is nobody", plain, func(b []byte) []byte { clear(b[vxlanSource:][:6]); return b }},
		{"checksum of UDP in TCP", remote, func(b []byte) []byte { b[7] |= 0x80; return b }},
		{"checksum in the Ethernet header", remote, func(b []byte) []byte { b[7] = 6; return b }},
		{"checksum in the IP header", remote, func(b []byte) []byte { b[7] = 0x10; return b }},
		{"checksum outside the packet", remote, func(b []byte) []byte { b[7] = 0x7f; return b }},
		{"remote checksum of a fragment", remote, func(b []byte) []byte { b[VXLANHeaderLen+ipv4Fragment] = 0x20; return b }},
	} {
		if _, _, ok := ParseVXLAN(test.spoil(bytes.Clone(test.from))); ok {
			t.Errorf("%s: accepted", test.name)
		}
	}
	for _, good := range [][]byte{plain, remote} {
		if _, _, ok := ParseVXLAN(good); !ok {
			t.Errorf("the datagram that was spoilt is refused itself: %x", good)
		}
	}
}

// TestGroupPolicyIsIgnored takes frames of a device with gbp, whose group, "don't learn" and "applied" bits
// mean nothing to a fabric.
func TestGroupPolicyIsIgnored(t *testing.T) {
	v := VXLAN{VNI: 7, Dst: macThere, Src: macHere, EtherType: EtherTypeIPv4}
	b := frameAround(v, segmentForGUE(4, 8))
	b[0], b[1], b[2], b[3] = b[0]|0x80, 0x48, 0x12, 0x34
	if got, _, ok := ParseVXLAN(b); !ok || got != v {
		t.Errorf("%+v, %v; want %+v", got, ok, v)
	}
}

// FuzzParseVXLAN holds that what is accepted says the same when it is written again, and that a checksum
// place is inside the packet.
func FuzzParseVXLAN(f *testing.F) {
	for _, version := range []byte{4, 6} {
		for _, remote := range []bool{false, true} {
			f.Add(frameAround(VXLAN{VNI: 1, Dst: macHere, Src: macThere, EtherType: EtherTypeIPv4, RemoteSum: remote}, segmentForGUE(version, 20)))
		}
	}
	f.Add([]byte{0x88, 0x48, 0x12, 0x34, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		v, inner, ok := ParseVXLAN(data)
		if !ok {
			return
		}
		if inner.GSO.PartialChecksum != v.RemoteSum || v.RemoteSum && int(inner.GSO.ChecksumStart+inner.GSO.ChecksumOffset)+2 > len(inner.Data) {
			t.Errorf("%+v of a packet of %d bytes, remote sum %v", inner.GSO, len(inner.Data), v.RemoteSum)
		}
		again := append(make([]byte, VXLANHeaderLen), inner.Data...)
		v.Put(again, &inner.GSO)
		if data[0]&0x80 != 0 { // the group policy isn't kept
			data = append([]byte{data[0] &^ 0x80, data[1] & 0x20, 0, 0}, data[4:]...)
		}
		if !bytes.Equal(again, data) {
			t.Errorf("parsed and written again:\n%x, was\n%x", again, data)
		}
	})
}
