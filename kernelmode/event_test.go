package kernelmode_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"weft/kernelmode"
)

// message lays out a header of n bytes with the index in its second word, and attributes behind it.
func message(n int, index uint32, attrs ...[]byte) []byte {
	b := make([]byte, n)
	binary.NativeEndian.PutUint32(b[4:], index)
	return append(b, bytes.Join(attrs, nil)...)
}

func attr(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func route(family, bits, table, protocol byte, attrs ...[]byte) []byte {
	return append([]byte{family, bits, 0, 0, table, protocol, 0, 1, 0, 0, 0, 0}, bytes.Join(attrs, nil)...)
}

func TestParseEvent(t *testing.T) {
	v6 := addr("fd10:244::").As16()
	for _, c := range []struct {
		what string
		kind uint16
		body []byte
		want kernelmode.Event
		ok   bool
	}{
		{"known address", 20, message(8, 7), kernelmode.Event{Kind: kernelmode.EventAddress, Device: "weft0"}, true},
		{"address of nobody", 21, message(8, 9), kernelmode.Event{Kind: kernelmode.EventAddress}, true},
		{"neighbour", 28, message(12, 7), kernelmode.Event{Kind: kernelmode.EventNeighbour, Device: "weft0"}, true},
		{"link", 16, message(16, 8, attr(1, []byte{1, 2, 3}), attr(3, []byte("eth0\x00"))), kernelmode.Event{Kind: kernelmode.EventLink, Device: "eth0"}, true},
		{"link gone, nameless", 17, message(16, 7), kernelmode.Event{Kind: kernelmode.EventLink, Device: "weft0"}, true},
		{"route", 24, route(2, 16, 254, 87, attr(1, []byte{10, 244, 0, 0})), kernelmode.Event{Kind: kernelmode.EventRoute, Dst: prefix("10.244.0.0/16"), Protocol: 87}, true},
		{"IPv6 route", 25, route(10, 48, 254, 3, attr(4, []byte{1, 0, 0, 0}), attr(1, v6[:])), kernelmode.Event{Kind: kernelmode.EventRoute, Dst: prefix("fd10:244::/48"), Protocol: 3}, true},
		{"default route", 24, route(2, 0, 254, 3), kernelmode.Event{Kind: kernelmode.EventRoute, Dst: prefix("0.0.0.0/0"), Protocol: 3}, true},
		{"other table", 24, route(2, 16, 255, 2, attr(1, []byte{10, 244, 0, 0})), kernelmode.Event{}, false},
		{"multicast family", 24, route(128, 16, 254, 2, attr(1, []byte{10, 244, 0, 0})), kernelmode.Event{}, false},
		{"destination of the other family", 24, route(2, 16, 254, 2, attr(1, v6[:])), kernelmode.Event{}, false},
		{"short address", 20, message(8, 7)[:7], kernelmode.Event{}, false},
		{"short link", 16, message(16, 7)[:15], kernelmode.Event{}, false},
		{"short neighbour", 29, message(12, 7)[:11], kernelmode.Event{}, false},
		{"short route", 24, route(2, 16, 254, 87)[:11], kernelmode.Event{}, false},
		{"no such type", 99, message(16, 7), kernelmode.Event{}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			got, ok := kernelmode.ParseEvent(c.kind, c.body, map[int]string{7: "weft0"})
			if ok != c.ok || ok && got != c.want {
				t.Errorf("parsed %+v, %v; want %+v, %v", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestParseEventFollowsNames(t *testing.T) {
	names := map[int]string{}
	kernelmode.ParseEvent(16, message(16, 5, attr(3, []byte("weft0\x00"))), names)
	kernelmode.ParseEvent(16, message(16, 5, attr(3, []byte("weft9\x00"))), names) // renamed
	if e, _ := kernelmode.ParseEvent(20, message(8, 5), names); e.Device != "weft9" {
		t.Errorf("address event of %q, want weft9", e.Device)
	}
	kernelmode.ParseEvent(17, message(16, 5, attr(3, []byte("weft9\x00"))), names)
	if len(names) != 0 {
		t.Errorf("names after the deletion: %v", names)
	}
}

func TestConcerns(t *testing.T) {
	s := kernelmode.ScopeOf(kernelmode.State{}.With(tun, network))
	for e, want := range map[kernelmode.Event]bool{
		{Kind: kernelmode.EventResync}:                                           true,
		{Kind: kernelmode.EventLink, Device: "weft0"}:                            true,
		{Kind: kernelmode.EventLink, Device: "eth0"}:                             false,
		{Kind: kernelmode.EventAddress}:                                          true, // nobody knows whose
		{Kind: kernelmode.EventRoute, Dst: network.Dst, Protocol: 3}:             true,
		{Kind: kernelmode.EventRoute, Dst: prefix("192.0.2.0/24"), Protocol: 3}:  false,
		{Kind: kernelmode.EventRoute, Dst: prefix("192.0.2.0/24"), Protocol: 87}: true,
		{Kind: kernelmode.EventNeighbour, Device: "eth0"}:                        false,
	} {
		if got := kernelmode.Concerns(s, e); got != want {
			t.Errorf("concerns(%+v) = %v", e, got)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add(uint16(16), message(16, 8, attr(3, []byte("eth0\x00"))))
	f.Add(uint16(24), route(2, 16, 254, 87, attr(1, []byte{10, 244, 0, 0})))
	f.Add(uint16(24), route(10, 48, 254, 87, []byte{4, 0, 1, 0, 255, 255}))
	f.Fuzz(func(t *testing.T, kind uint16, body []byte) {
		e, ok := kernelmode.ParseEvent(kind, body, map[int]string{8: "eth0"})
		if ok && e.Kind == kernelmode.EventRoute && (!e.Dst.IsValid() || e.Dst.Masked() != e.Dst) {
			t.Errorf("destination %v is not a masked prefix", e.Dst)
		}
		if !ok && e.Device != "" {
			t.Errorf("no event, yet a device %q", e.Device)
		}
	})
}
