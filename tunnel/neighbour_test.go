package tunnel

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"
)

// What Linux sends: an ARP request of 10.5.1.0 for 10.5.2.0, and a solicitation of fe80::1 for fd05:0:0:2::
// to that address's solicited-node group.
var (
	arpQuestion = NeighbourQuestion{
		Target: netip.MustParseAddr("10.5.2.0"), Asker: netip.MustParseAddr("10.5.1.0"), AskerMAC: macThere,
	}
	ndQuestion = NeighbourQuestion{
		Target: netip.MustParseAddr("fd05:0:0:2::"), Asker: netip.MustParseAddr("fe80::1"), AskerMAC: macThere,
	}
	arpBytes = mustHex("0001080006040001" + "8ea8f36c89ee" + "0a050100" + "000000000000" + "0a050200")
	ndBytes  = summed6(mustHex("6000000000203aff" + "fe800000000000000000000000000001" + "ff0200000000000000000001ff000000" +
		"8700000000000000" + "fd050000000000020000000000000000" + "01018ea8f36c89ee"))
)

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// summed6 completes the checksum of an ICMPv6 packet, on a copy.
func summed6(packet []byte) []byte {
	packet = bytes.Clone(packet)
	icmp := packet[ipv6HeaderLen:]
	icmp[2], icmp[3] = 0, 0
	sum := pseudoSum(packet, true, protocolICMP6) + uint64(len(icmp)) + uint64(onesSum(icmp))
	binary.BigEndian.PutUint16(icmp[2:], ^fold(sum))
	return packet
}

func TestNeighbourQuestionsAreRead(t *testing.T) {
	if q, ok := ParseARP(arpBytes); !ok || q != arpQuestion {
		t.Errorf("ARP: %+v, %v", q, ok)
	}
	if q, ok := ParseARP(append(bytes.Clone(arpBytes), make([]byte, 18)...)); !ok || q != arpQuestion {
		t.Errorf("padded ARP: %+v, %v", q, ok)
	}
	if q, ok := ParseSolicitation(ndBytes, macHere); !ok || q != ndQuestion {
		t.Errorf("solicitation: %+v, %v", q, ok)
	}
	bare := bytes.Clone(ndBytes[:len(ndBytes)-ndOptionLen])
	bare[5] -= ndOptionLen
	want := ndQuestion
	want.AskerMAC = macHere // the frame's
	if q, ok := ParseSolicitation(summed6(bare), macHere); !ok || q != want {
		t.Errorf("solicitation without option: %+v, %v", q, ok)
	}
}

func TestNeighbourQuestionsRefused(t *testing.T) {
	for name, spoil := range map[string]func(b []byte) []byte{
		"short":         func(b []byte) []byte { return b[:27] },
		"Token Ring":    func(b []byte) []byte { b[1] = 6; return b },
		"not IPv4":      func(b []byte) []byte { b[2] = 0x86; return b },
		"long MACs":     func(b []byte) []byte { b[4] = 8; return b },
		"a reply":       func(b []byte) []byte { b[7] = 2; return b },
		"announcement":  func(b []byte) []byte { copy(b[arpTarget:], b[arpSender:][:4]); return b },
		"from a group":  func(b []byte) []byte { b[arpSenderMAC] |= 1; return b },
		"from nobody":   func(b []byte) []byte { clear(b[arpSenderMAC:][:6]); return b },
		"empty request": func(b []byte) []byte { return nil },
	} {
		if q, ok := ParseARP(spoil(bytes.Clone(arpBytes))); ok {
			t.Errorf("ARP, %s: accepted as %+v", name, q)
		}
	}
	const icmp = ipv6HeaderLen
	for name, spoil := range map[string]func(b []byte) []byte{
		"short":                func(b []byte) []byte { return b[:icmp+ndMessageLen-1] },
		"forwarded once":       func(b []byte) []byte { b[ipv6HopLimit] = 254; return b },
		"an advertisement":     func(b []byte) []byte { b[icmp] = 136; return summed6(b) },
		"code 1":               func(b []byte) []byte { b[icmp+1] = 1; return summed6(b) },
		"bad checksum":         func(b []byte) []byte { b[icmp+2]++; return b },
		"for a group":          func(b []byte) []byte { b[icmp+8] = 0xff; return summed6(b) },
		"from a group":         func(b []byte) []byte { b[ipv6Source] = 0xff; return summed6(b) },
		"duplicate detection":  func(b []byte) []byte { clear(b[ipv6Source:][:16]); return summed6(b) },
		"option of length 0":   func(b []byte) []byte { b[icmp+ndMessageLen+1] = 0; return summed6(b) },
		"option past the end":  func(b []byte) []byte { b[icmp+ndMessageLen+1] = 2; return summed6(b) },
		"answer to a group":    func(b []byte) []byte { b[icmp+ndMessageLen+2] |= 1; return summed6(b) },
		"UDP":                  func(b []byte) []byte { b[ipv6Next] = protocolUDP; return b },
		"solicits for routers": func(b []byte) []byte { b[icmp] = 133; return summed6(b) },
	} {
		if q, ok := ParseSolicitation(spoil(bytes.Clone(ndBytes)), macThere); ok {
			t.Errorf("solicitation, %s: accepted as %+v", name, q)
		}
	}
}

func TestNeighbourAnswers(t *testing.T) {
	want := mustHex("0001080006040002" + "0ec504da1f80" + "0a050200" + "8ea8f36c89ee" + "0a050100")
	if got := AppendARPReply(nil, arpQuestion, macHere); !bytes.Equal(got, want) {
		t.Errorf("ARP reply\n%x, want\n%x", got, want)
	}
	want = summed6(mustHex("6000000000203aff" + "fd050000000000020000000000000000" + "fe800000000000000000000000000001" +
		"8800000060000000" + "fd050000000000020000000000000000" + "02010ec504da1f80"))
	if got := AppendAdvertisement([]byte("before")[:0], ndQuestion, macHere); !bytes.Equal(got, want) {
		t.Errorf("advertisement\n%x, want\n%x", got, want)
	}
}

func TestRouterSolicitationIsTold(t *testing.T) {
	rs := bytes.Clone(ndBytes)
	rs[ipv6HeaderLen] = 133
	if !IsRouterSolicitation(rs) || IsRouterSolicitation(ndBytes) || IsRouterSolicitation(rs[:40]) || IsRouterSolicitation(nil) {
		t.Error("router and neighbour solicitation are not told apart")
	}
}

// FuzzNeighbourQuestion holds that what is accepted can be answered, and names usable places to answer to.
func FuzzNeighbourQuestion(f *testing.F) {
	f.Add(arpBytes)
	f.Add(ndBytes)
	f.Fuzz(func(t *testing.T, data []byte) {
		if q, ok := ParseARP(data); ok {
			if !q.AskerMAC.Usable() || !q.Target.Is4() || !q.Asker.Is4() || len(AppendARPReply(nil, q, macHere)) != arpLen {
				t.Errorf("ARP %x read as %+v", data, q)
			}
		}
		if q, ok := ParseSolicitation(data, macThere); ok {
			answer := AppendAdvertisement(nil, q, macHere)
			var p Inner
			if !q.AskerMAC.Usable() || !p.Parse(answer) || p.Len != len(answer) || p.Dst() != q.Asker {
				t.Errorf("solicitation %x read as %+v", data, q)
			}
		}
	})
}
