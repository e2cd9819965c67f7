package tunnel

import (
	"bytes"
	"testing"
)

func TestOuterHeaderComesOff(t *testing.T) {
	with := func(first byte, length int) []byte { return append([]byte{first}, make([]byte, length-1)...) }
	for _, test := range []struct {
		name string
		data []byte
		left int // bytes; -1: refused
	}{
		{"plain", with(0x45, 60), 40},
		{"with options", with(0x4f, 80), 20},
		{"nothing inside", with(0x45, 20), 0},
		{"empty", nil, -1},
		{"short", with(0x45, 19), -1},
		{"IPv6", with(0x65, 60), -1},
		{"header too short", with(0x44, 60), -1},
		{"header past the end", with(0x4f, 59), -1},
	} {
		d := Datagram{Payload: bytes.Clone(test.data)}
		ok := takeOuter(&d)
		if ok != (test.left >= 0) || ok && len(d.Payload) != test.left {
			t.Errorf("%s: %d bytes left, %v; want %d", test.name, len(d.Payload), ok, test.left)
		}
	}
}

func FuzzTakeOuter(f *testing.F) {
	f.Add(append([]byte{0x45}, make([]byte, 39)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := Datagram{Payload: data}
		if takeOuter(&d) && len(d.Payload) != len(data)-int(data[0]&15)*4 {
			t.Errorf("of %d bytes %d are left", len(data), len(d.Payload))
		}
	})
}
