package tunnel_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

var (
	inner4 = tunneltest.Flow{Src: netip.MustParseAddrPort("10.5.1.10:1000"), Dst: netip.MustParseAddrPort("10.5.2.20:2000")}
	inner6 = tunneltest.Flow{Src: netip.MustParseAddrPort("[fd05:0:0:1::10]:1000"), Dst: netip.MustParseAddrPort("[fd05:0:0:2::20]:2000")}
)

func TestParseInner(t *testing.T) {
	for _, flow := range []tunneltest.Flow{inner4, inner6} {
		data := flow.UDP([]byte("payload"))
		var p tunnel.Inner
		if !p.Parse(append(slices.Clone(data), "behind it"...)) {
			t.Fatalf("%v: a good packet is malformed", flow)
		}
		if p.Len != len(data) || p.Src() != flow.Src.Addr() || p.Dst() != flow.Dst.Addr() || p.Protocol != tunneltest.UDP {
			t.Errorf("%v: read as %+v", flow, p)
		}
	}
}

func TestMartians(t *testing.T) {
	for addr, want := range map[string]bool{
		"0.0.0.0": true, "0.1.2.3": true, "127.0.0.1": true, "224.0.0.1": true, "239.255.255.255": true,
		"240.0.0.1": true, "255.255.255.255": true, "10.0.0.1": false, "126.255.255.255": false, "223.255.255.255": false,
		"169.254.0.1": false, "1.0.0.0": false,
		"::": true, "::1": true, "::2": true, "ff02::1": true, "ff0e::1": true, "::ffff:10.0.0.1": true, "::10.0.0.1": true,
		"fe80::1": false, "fd00::1": false, "2001:db8::1": false, "::1:0:0:0": false,
	} {
		a := netip.MustParseAddr(addr)
		var p tunnel.Inner
		if p.V6 = a.Is6(); p.V6 {
			p.Src6, p.Dst6 = a.As16(), netip.MustParseAddr("fd00::1").As16()
		} else {
			p.Src4, p.Dst4 = binary.BigEndian.Uint32(a.AsSlice()), 10<<24|1
		}
		if p.MartianSource() != want || p.MartianDestination() {
			t.Errorf("%s: martian source %v, want %v", addr, !want, want)
		}
		p.Src4, p.Dst4, p.Src6, p.Dst6 = p.Dst4, p.Src4, p.Dst6, p.Src6
		if p.MartianDestination() != want || p.MartianSource() {
			t.Errorf("%s: martian destination %v, want %v", addr, !want, want)
		}
	}
}

// TestFlowHash checks that a flow keeps its hash, fragments included where they are all there is, and
// that flows which differ in one bit of a port are told apart.
func TestFlowHash(t *testing.T) {
	hash := func(data []byte) uint32 {
		var p tunnel.Inner
		if !p.Parse(data) {
			t.Fatalf("malformed: %x", data)
		}
		return p.FlowHash(data)
	}
	for _, flow := range []tunneltest.Flow{inner4, inner6} {
		if hash(flow.TCP(1, nil)) != hash(flow.TCP(99, []byte("other bytes"))) {
			t.Errorf("%v: two packets of one flow differ", flow)
		}
		other := flow
		other.Src = netip.AddrPortFrom(flow.Src.Addr(), flow.Src.Port()^1)
		if hash(flow.UDP(nil)) == hash(other.UDP(nil)) || hash(flow.UDP(nil)) == hash(flow.Reverse().UDP(nil)) {
			t.Errorf("%v: not told from its neighbour", flow)
		}
	}
	first, later := inner4.UDP(make([]byte, 100)), inner4.UDP(make([]byte, 200))
	binary.BigEndian.PutUint16(first[6:], 0x2000) // more fragments
	binary.BigEndian.PutUint16(later[6:], 16)     // offset 128
	copy(later[20:], "not ports")
	if hash(first) != hash(later) {
		t.Error("fragments of one packet differ")
	}
}

// FuzzParseInner compares with the plain reading of the RFCs, and with what is promised about the result.
func FuzzParseInner(f *testing.F) {
	for _, seed := range [][]byte{inner4.UDP(nil), inner6.UDP(nil), inner4.TCP(1, []byte("x")), {0x45}, {0x60}, nil} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p tunnel.Inner
		ok := p.Parse(data)
		want := false
		switch {
		case len(data) >= 20 && data[0]>>4 == 4:
			ihl, total := int(data[0]&15)*4, int(data[2])<<8|int(data[3])
			want = ihl >= 20 && total >= ihl && total <= len(data)
		case len(data) >= 40 && data[0]>>4 == 6:
			want = 40+(int(data[4])<<8|int(data[5])) <= len(data)
		}
		if ok != want {
			t.Fatalf("Parse = %v, want %v", ok, want)
		}
		if !ok {
			return
		}
		if p.Len > len(data) || p.V6 != (data[0]>>4 == 6) || p.Src().Is6() != p.V6 {
			t.Errorf("read as %+v", p)
		}
		// None of these may read past Len.
		exact := data[:p.Len:p.Len]
		p.FlowHash(exact)
		from4, from6 := netip.MustParseAddr("10.5.1.0"), netip.MustParseAddr("fd05::")
		for _, from := range []netip.Addr{from4, from6} {
			for _, icmp := range [][]byte{tunnel.AppendNoRoute(nil, from, exact), tunnel.AppendTooBig(nil, from, exact, 1300)} {
				checkICMP(t, icmp, exact)
			}
		}
		packet := tunnel.Packet{Data: bytes.Clone(exact)}
		if tunnel.Fragmentable(&packet) {
			checkFragments(t, &packet, 68+len(data)%1000)
		}
	})
}
