package tunnel_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// willing returns a UDP packet that allows fragments, with IP options in front of the UDP header.
func willing(payload []byte, options ...byte) []byte {
	p := slices.Insert(inner4.UDP(payload), 20, options...)
	p[0] = 0x40 | byte(20+len(options))/4
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[6:], 0)
	sumHeader(p)
	return p
}

func sumHeader(p []byte) {
	header := int(p[0]&15) * 4
	binary.BigEndian.PutUint16(p[10:], 0)
	binary.BigEndian.PutUint16(p[10:], tunneltest.Checksum(p[:header]))
}

// checkFragments cuts a packet and puts it together again, as a receiver would.
func checkFragments(t *testing.T, p *tunnel.Packet, mtu int) (heads [][]byte) {
	t.Helper()
	want := bytes.Clone(p.Data)
	header := int(want[0]&15) * 4
	field := binary.BigEndian.Uint16(want[6:])
	out, err := tunnel.NewSegmenter().Fragment(nil, p, tunnel.Cut{Reserve: 4}, mtu)
	if err != nil {
		if errors.Is(err, tunnel.ErrMalformed) && mtu < header+8 || len(want) > 60_000 {
			return nil
		}
		t.Fatalf("cutting %d bytes for an MTU of %d: %v", len(want), mtu, err)
	}
	var payload []byte
	for i, d := range out {
		head := d.Head[4:]
		place := binary.BigEndian.Uint16(head[6:])
		more := i < len(out)-1 || field&0x2000 != 0
		if place&0x1fff != (field+uint16(len(payload)/8))&0x1fff || (place&0x2000 != 0) != more {
			t.Errorf("fragment %d of %d says %#04x at offset %d", i, len(out), place, len(payload))
		}
		if d.Len()-4 > mtu || int(binary.BigEndian.Uint16(head[2:])) != d.Len()-4 || tunneltest.Checksum(head) != 0 {
			t.Errorf("fragment %d of %d bytes has a bad header % x", i, d.Len()-4, head)
		}
		payload = append(payload, d.Payload...)
		heads = append(heads, head)
	}
	if !bytes.Equal(payload, want[header:]) {
		t.Error("the fragments don't add up to the packet")
	}
	return heads
}

func TestFragment(t *testing.T) {
	for _, size := range []int{0, 1, 500, 1460, 9000, 60_000} {
		for _, mtu := range []int{68, 576, 1277, 1400} {
			checkFragments(t, &tunnel.Packet{Data: willing(make([]byte, size))}, mtu)
		}
	}
}

func TestFragmentOfAFragment(t *testing.T) {
	for _, field := range []uint16{0x2000, 0x2010, 0x0010} {
		p := willing(make([]byte, 3000))
		binary.BigEndian.PutUint16(p[6:], field)
		sumHeader(p)
		checkFragments(t, &tunnel.Packet{Data: p}, 1300)
	}
}

// TestFragmentKeepsOnlyCopiedOptions has a record route (not copied) and a router alert (copied).
func TestFragmentKeepsOnlyCopiedOptions(t *testing.T) {
	options := []byte{7, 7, 4, 1, 2, 3, 4, 0x94, 4, 0, 0, 0}
	heads := checkFragments(t, &tunnel.Packet{Data: willing(make([]byte, 3000), options...)}, 1300)
	if len(heads) != 3 {
		t.Fatalf("%d fragments, want 3", len(heads))
	}
	later := []byte{1, 1, 1, 1, 1, 1, 1, 0x94, 4, 0, 0, 0}
	for i, want := range [][]byte{options, later, later} {
		if got := heads[i][20:]; !bytes.Equal(got, want) {
			t.Errorf("options of fragment %d: % x, want % x", i, got, want)
		}
	}
}

func TestFragmentFinishesAPartialChecksumFirst(t *testing.T) {
	whole := willing(bytes.Repeat([]byte("sum"), 700))
	p := tunneltest.Partial(bytes.Clone(whole))
	out, err := tunnel.NewSegmenter().Fragment(nil, &p, tunnel.Cut{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var payload []byte
	for _, d := range out {
		payload = append(payload, d.Payload...)
	}
	if !bytes.Equal(payload, whole[20:]) {
		t.Error("the transport checksum left the host unfinished")
	}
}

func TestFragmentable(t *testing.T) {
	for name, want := range map[string]bool{"willing": true, "DF": false, "IPv6": false, "superpacket": false} {
		p := tunnel.Packet{Data: map[string][]byte{
			"willing": willing(nil), "DF": inner4.UDP(nil), "IPv6": inner6.UDP(nil), "superpacket": willing(nil),
		}[name]}
		if name == "superpacket" {
			p.GSO.Kind = tunnel.GSOUDP
		}
		if got := tunnel.Fragmentable(&p); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestNoRoomForAFragment(t *testing.T) {
	p := tunnel.Packet{Data: willing(make([]byte, 100))}
	if out, err := tunnel.NewSegmenter().Fragment(nil, &p, tunnel.Cut{}, 27); !errors.Is(err, tunnel.ErrMalformed) || len(out) != 0 {
		t.Errorf("error %v, %d fragments, want ErrMalformed and none", err, len(out))
	}
}
