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

var host4, host6 = netip.MustParseAddr("10.5.1.0"), netip.MustParseAddr("fd05:0:0:1::")

// checkICMP checks everything about an ICMP error but its type: headers, checksums, quote. None is fine.
func checkICMP(t *testing.T, icmp, packet []byte) {
	t.Helper()
	if len(icmp) == 0 {
		return
	}
	var p, about tunnel.Inner
	if !p.Parse(icmp) || p.Len != len(icmp) || !about.Parse(packet) || p.Dst() != about.Src() || p.V6 != about.V6 {
		t.Fatalf("%x is no answer to %x", icmp, packet)
	}
	body, limit := icmp[20:], 576
	sum := tunneltest.Checksum(body)
	if p.V6 {
		body, limit = icmp[40:], 1280
		pseudo := slices.Concat(icmp[8:40], binary.BigEndian.AppendUint32(nil, uint32(len(body))), []byte{0, 0, 0, 58})
		sum = tunneltest.Checksum(append(pseudo, body...))
	} else if tunneltest.Checksum(icmp[:20]) != 0 {
		t.Errorf("IP header checksum of %x is wrong", icmp)
	}
	if sum != 0 {
		t.Errorf("ICMP checksum of %x is wrong", icmp)
	}
	if !bytes.HasPrefix(packet, body[8:]) || len(icmp) > limit || len(icmp) < limit && len(body)-8 != about.Len {
		t.Errorf("%d bytes that quote %d bytes of %d", len(icmp), len(body)-8, about.Len)
	}
}

func TestICMPErrors(t *testing.T) {
	for _, test := range []struct {
		name   string
		icmp   []byte
		packet []byte
		want   []byte // type, code, and the rest of the header behind the checksum
	}{
		{"net unreachable", tunnel.AppendNoRoute(nil, host4, inner4.UDP(nil)), inner4.UDP(nil), []byte{3, 0, 0, 0, 0, 0}},
		{"no route", tunnel.AppendNoRoute(nil, host6, inner6.UDP(nil)), inner6.UDP(nil), []byte{1, 0, 0, 0, 0, 0}},
		{"fragmentation needed", tunnel.AppendTooBig(nil, host4, inner4.UDP(make([]byte, 1400)), 1300),
			inner4.UDP(make([]byte, 1400)), []byte{3, 4, 0, 0, 1300 >> 8, 1300 & 255}},
		{"packet too big", tunnel.AppendTooBig(nil, host6, inner6.UDP(make([]byte, 1400)), 1300),
			inner6.UDP(make([]byte, 1400)), []byte{2, 0, 0, 0, 1300 >> 8, 1300 & 255}},
		{"packet too big never names less than 1,280", tunnel.AppendTooBig(nil, host6, inner6.UDP(make([]byte, 1400)), 900),
			inner6.UDP(make([]byte, 1400)), []byte{2, 0, 0, 0, 1280 >> 8, 1280 & 255}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if len(test.icmp) == 0 {
				t.Fatal("no answer")
			}
			checkICMP(t, test.icmp, test.packet)
			body := test.icmp[20:]
			if test.icmp[0]>>4 == 6 {
				body = test.icmp[40:]
			}
			if got := append(bytes.Clone(body[:2]), body[4:8]...); !bytes.Equal(got, test.want) {
				t.Errorf("type, code and rest % x, want % x", got, test.want)
			}
		})
	}
}

func TestICMPKeepsWhatIsInTheBuffer(t *testing.T) {
	got := tunnel.AppendNoRoute([]byte("before"), host4, inner4.UDP(nil))
	if !bytes.HasPrefix(got, []byte("before")) {
		t.Fatalf("the buffer starts with %x", got[:6])
	}
	checkICMP(t, got[6:], inner4.UDP(nil))
}

// TestNeverAnsweredWithICMP lists the packets that RFC 1122 3.2.2 and RFC 4443 2.4 forbid to answer, beside
// their nearest neighbours that may be.
func TestNeverAnsweredWithICMP(t *testing.T) {
	icmp4 := func(kind byte) []byte {
		p := inner4.UDP(make([]byte, 20))
		p[9], p[20] = 1, kind
		return p
	}
	icmp6 := func(kind byte) []byte {
		p := inner6.UDP(make([]byte, 20))
		p[6], p[40] = 58, kind
		return p
	}
	fragment := func(field uint16) []byte {
		p := inner4.UDP(make([]byte, 20))
		binary.BigEndian.PutUint16(p[6:], field)
		return p
	}
	// extension puts a header of eight bytes between IPv6 header and transport.
	extension := func(p []byte, kind byte, header [8]byte) []byte {
		header[0] = p[6]
		q := slices.Insert(bytes.Clone(p), 40, header[:]...)
		q[6] = kind
		binary.BigEndian.PutUint16(q[4:], uint16(len(q)-40))
		return q
	}
	flow := func(src, dst string) []byte {
		return tunneltest.Flow{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}.UDP(nil)
	}
	for _, test := range []struct {
		name     string
		packet   []byte
		answered bool
	}{
		{"UDP", inner4.UDP(nil), true},
		{"echo request", icmp4(8), true},
		{"destination unreachable", icmp4(3), false},
		{"source quench", icmp4(4), false},
		{"redirect", icmp4(5), false},
		{"time exceeded", icmp4(11), false},
		{"parameter problem", icmp4(12), false},
		{"first fragment", fragment(0x2000), true},
		{"later fragment", fragment(0x2001), false},
		{"last fragment", fragment(0x0001), false},
		{"unspecified source", flow("0.0.0.0:1", "10.5.2.20:1"), false},
		{"loopback source", flow("127.0.0.1:1", "10.5.2.20:1"), false},
		{"multicast destination", flow("10.5.1.10:1", "224.0.0.1:1"), false},
		{"broadcast destination", flow("10.5.1.10:1", "255.255.255.255:1"), false},
		{"IPv6 UDP", inner6.UDP(nil), true},
		{"IPv6 echo request", icmp6(128), true},
		{"IPv6 error", icmp6(1), false},
		{"IPv6 packet too big", icmp6(2), false},
		{"IPv6 UDP behind options", extension(inner6.UDP(nil), 60, [8]byte{}), true},
		{"IPv6 error behind options", extension(icmp6(3), 60, [8]byte{}), false},
		{"IPv6 first fragment", extension(inner6.UDP(nil), 44, [8]byte{3: 1}), true},
		{"IPv6 later fragment", extension(inner6.UDP(nil), 44, [8]byte{2: 1}), false},
		{"IPv6 error in a first fragment", extension(icmp6(1), 44, [8]byte{3: 1}), false},
		{"IPv6 options past the end", extension(inner6.UDP(nil), 60, [8]byte{1: 200}), false},
		{"IPv6 multicast destination", flow("[fd05:0:0:1::10]:1", "[ff02::1]:1"), false},
		{"IPv6 unspecified source", flow("[::]:1", "[fd05:0:0:2::20]:1"), false},
		{"truncated", inner4.UDP(nil)[:25], false},
		{"empty", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			from := host4
			if len(test.packet) > 0 && test.packet[0]>>4 == 6 {
				from = host6
			}
			for _, got := range [][]byte{tunnel.AppendNoRoute(nil, from, test.packet), tunnel.AppendTooBig(nil, from, test.packet, 1300)} {
				if answered := len(got) > 0; answered != test.answered {
					t.Errorf("answered: %v, want %v", answered, test.answered)
				}
				checkICMP(t, got, test.packet)
			}
		})
	}
}

// TestICMPIsAnsweredWithNothing: an error about our own error would go on for ever.
func TestICMPIsAnsweredWithNothing(t *testing.T) {
	for from, packet := range map[netip.Addr][]byte{host4: inner4.UDP(nil), host6: inner6.UDP(nil)} {
		icmp := tunnel.AppendNoRoute(nil, from, packet)
		if got := tunnel.AppendNoRoute(nil, from, icmp); len(got) != 0 {
			t.Errorf("%x was answered with %x", icmp, got)
		}
	}
}
