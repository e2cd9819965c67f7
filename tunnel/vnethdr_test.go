package tunnel

import "testing"

func TestVnetHeaderRoundTrip(t *testing.T) {
	for _, spec := range segmentCases() {
		p := superOf(spec, 33)
		var b [vnetHeaderLen]byte
		vnetFor(p.GSO).encode(b[:])
		g, ok := decodeVnet(b[:]).metadata(p.Data)
		if !ok || g != p.GSO {
			t.Errorf("%+v came back as %+v, %v", p.GSO, g, ok)
		}
	}
}

// hdr_len of forwarded packets is whatever the first device thought: it must not matter.
func TestVnetHeaderLengthIsNotTrusted(t *testing.T) {
	p := superOf(testPacket{payload: pattern(500, 1), options: pattern(12, 1)}, 100)
	h := vnetFor(p.GSO)
	for _, lie := range []uint16{0, 20, 40, 65535} {
		h.headerLen = lie
		if g, ok := h.metadata(p.Data); !ok || g.HeaderLen != 52 {
			t.Errorf("hdr_len %d: header length %d, %v; want 52", lie, g.HeaderLen, ok)
		}
	}
}

func TestVnetHeaderContradictions(t *testing.T) {
	good := superOf(testPacket{payload: pattern(500, 1)}, 100)
	for name, spoil := range map[string]func(*vnetHeader){
		"unknown type (UFO)":      func(h *vnetHeader) { h.gsoType = 3 },
		"tunnel type":             func(h *vnetHeader) { h.gsoType |= 0x20 },
		"segment size 0":          func(h *vnetHeader) { h.segmentSize = 0 },
		"checksum behind the end": func(h *vnetHeader) { h.checksumStart = 65535; h.checksumOffset = 65535 },
		"checksum in IP header":   func(h *vnetHeader) { h.checksumStart = 4 },
		"UDP offset for TCP":      func(h *vnetHeader) { h.checksumOffset = udpChecksum },
		"v6 type for v4":          func(h *vnetHeader) { h.gsoType = vnetGSOTCP6 },
	} {
		h := vnetFor(good.GSO)
		spoil(&h)
		if g, ok := h.metadata(good.Data); ok {
			t.Errorf("%s: accepted as %+v", name, g)
		}
	}
}

func FuzzVnetHeader(f *testing.F) {
	p := superOf(testPacket{payload: pattern(100, 1)}, 50)
	var b [vnetHeaderLen]byte
	vnetFor(p.GSO).encode(b[:])
	f.Add(append(b[:], p.Data...))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0x45})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Packet
		if !decodePacket(&p, b) {
			return
		}
		if end := int(p.GSO.ChecksumStart) + int(p.GSO.ChecksumOffset) + 2; p.GSO.PartialChecksum && end > len(p.Data) {
			t.Errorf("checksum at %d of %d bytes", end, len(p.Data))
		}
		if int(p.GSO.HeaderLen) > len(p.Data) {
			t.Errorf("headers of %d in %d bytes", p.GSO.HeaderLen, len(p.Data))
		}
		FinishChecksum(&p) // must not panic
	})
}
