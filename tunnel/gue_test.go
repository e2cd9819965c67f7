package tunnel

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// segmentForGUE returns a TCP packet of the version with a partial checksum, and its metadata.
func segmentForGUE(version byte, payload int) Packet {
	ip, length := ipv4HeaderLen, ipv4HeaderLen+tcpHeaderLen+payload
	if version == 6 {
		ip, length = ipv6HeaderLen, ipv6HeaderLen+tcpHeaderLen+payload
	}
	data := make([]byte, length)
	if version == 6 {
		data[0], data[ipv6Next] = 0x60, protocolTCP
		binary.BigEndian.PutUint16(data[ipv6Length:], uint16(length-ip))
	} else {
		data[0], data[ipv4Protocol] = 0x45, protocolTCP
		binary.BigEndian.PutUint16(data[ipv4TotalLen:], uint16(length))
	}
	data[ip+tcpDataOffset] = 5 << 4
	return Packet{Data: data, GSO: GSO{PartialChecksum: true, ChecksumStart: uint16(ip), ChecksumOffset: tcpChecksum}}
}

func TestGUERoundTrip(t *testing.T) {
	for _, version := range []byte{4, 6} {
		p := segmentForGUE(version, 100)
		wire := append(make([]byte, GUEHeaderLen), p.Data...)
		PutGUE(wire, version, &p.GSO)
		if !IsGUE(wire) || IsGUE(p.Data) {
			t.Errorf("version %d: the first bits don't tell the formats apart", version)
		}
		got, ok := ParseGUE(wire)
		if !ok || got.GSO != p.GSO || !bytes.Equal(got.Data, p.Data) {
			t.Errorf("version %d: ParseGUE = %+v, %v; want %+v", version, got.GSO, ok, p.GSO)
		}
	}
}

// The header as Linux's gue_build_header lays it out for IPv4, checksum at 20+16.
func TestGUEBytesAreLinux(t *testing.T) {
	p := segmentForGUE(4, 0)
	var got [GUEHeaderLen]byte
	PutGUE(got[:], 4, &p.GSO)
	want := [GUEHeaderLen]byte{0x02, 4, 0, 1, 0x80, 0, 0, 0, 0, 20, 0, 36}
	if got != want {
		t.Errorf("header % x, want % x", got, want)
	}
}

func TestGUERefused(t *testing.T) {
	p := segmentForGUE(4, 8)
	good := append(make([]byte, GUEHeaderLen), p.Data...)
	PutGUE(good, 4, &p.GSO)
	cases := map[string]func(b []byte) []byte{
		"empty":                     func(b []byte) []byte { return nil },
		"short base":                func(b []byte) []byte { return b[:3] },
		"version 1":                 func(b []byte) []byte { b[0] |= 1 << 6; return b },
		"control message":           func(b []byte) []byte { b[0] |= gueControl; return b },
		"options beyond the end":    func(b []byte) []byte { b[0] = gueHlenMask; return b },
		"no inner packet":           func(b []byte) []byte { return b[:GUEHeaderLen] },
		"protocol 47":               func(b []byte) []byte { b[1] = 47; return b },
		"protocol against version":  func(b []byte) []byte { b[1] = gueIPv6; return b },
		"unknown flag":              func(b []byte) []byte { b[2] = 0x80; return b },
		"unknown private flag":      func(b []byte) []byte { b[7] = 1; return b },
		"flag without its option":   func(b []byte) []byte { b[0] = 1; return b },
		"option without its flag":   func(b []byte) []byte { b[3] = 0; return b },
		"field before start":        func(b []byte) []byte { b[11] = 2; return b },
		"field outside the packet":  func(b []byte) []byte { b[10] = 0x7f; return b },
		"start inside the header":   func(b []byte) []byte { b[9] = 4; b[11] = 20; return b },
		"field over the TCP source": func(b []byte) []byte { b[11] = 20; return b },
		"a fragment":                func(b []byte) []byte { b[GUEHeaderLen+ipv4Fragment] = 0x20; return b },
	}
	for name, spoil := range cases {
		if _, ok := ParseGUE(spoil(bytes.Clone(good))); ok {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, ok := ParseGUE(good); !ok {
		t.Error("the unspoilt header is refused")
	}
}

func TestGUEWithoutOptions(t *testing.T) {
	p := segmentForGUE(4, 8)
	got, ok := ParseGUE(append([]byte{0, gueIPv4, 0, 0}, p.Data...))
	if !ok || got.GSO.PartialChecksum || !bytes.Equal(got.Data, p.Data) {
		t.Errorf("ParseGUE = %+v, %v", got, ok)
	}
}

func FuzzParseGUE(f *testing.F) {
	for _, version := range []byte{4, 6} {
		p := segmentForGUE(version, 8)
		wire := append(make([]byte, GUEHeaderLen), p.Data...)
		PutGUE(wire, version, &p.GSO)
		f.Add(wire)
	}
	f.Add([]byte{0, 4, 0, 0, 0x45})
	f.Fuzz(func(t *testing.T, data []byte) {
		p, ok := ParseGUE(data)
		if !ok {
			return
		}
		if len(p.Data) == 0 || len(p.Data) >= len(data) {
			t.Fatalf("inner packet of %d bytes in a datagram of %d", len(p.Data), len(data))
		}
		if end := int(p.GSO.ChecksumStart) + int(p.GSO.ChecksumOffset) + 2; p.GSO.PartialChecksum && end > len(p.Data) {
			t.Fatalf("checksum field ends at %d of %d bytes", end, len(p.Data))
		}
	})
}
