package tunnel

import (
	"encoding/binary"
	"net/netip"
)

// Types and codes (RFC 792, RFC 1191, RFC 4443).
const (
	protocolICMP  = 1
	protocolICMP6 = 58

	icmpUnreachable     = 3
	icmpCodeNet         = 0
	icmpCodeFragNeeded  = 4
	icmp6Unreachable    = 1
	icmp6CodeNoRoute    = 0
	icmp6PacketTooBig   = 2
	icmp6Informational  = 128 // types below are errors
	icmpHeaderLen       = 8
	icmpTTL             = 64
	icmpTOS             = 0xc0 // internetwork control, as RFC 1812 4.3.2.5 asks for errors
	icmpMaxLen          = 576  // RFC 1812 4.3.2.3: as much of the packet as fits
	icmp6MaxLen         = 1280 // RFC 4443 3.1: without exceeding the minimum MTU
	ipv6FragmentHeader  = 44   // next header number
	ipv6FragmentOffsets = 0xfff8
)

// AppendNoRoute appends to buf the ICMP error that tells the sender of packet that nobody has its
// destination: net unreachable (RFC 792), or no route to destination (RFC 4443 3.1). from is this
// host's address in the fabric, of the packet's family. buf comes back unchanged when packet must
// not be answered; see answerable.
func AppendNoRoute(buf []byte, from netip.Addr, packet []byte) []byte {
	return appendICMP(buf, from, packet, icmpError{
		type4: icmpUnreachable, code4: icmpCodeNet,
		type6: icmp6Unreachable, code6: icmp6CodeNoRoute,
	})
}

// AppendTooBig appends to buf the ICMP error that tells the sender of packet to send at most mtu
// bytes an IP packet: fragmentation needed (RFC 1191 4), or packet too big (RFC 4443 3.2), which can't
// name less than 1,280. Otherwise it is AppendNoRoute's equal.
func AppendTooBig(buf []byte, from netip.Addr, packet []byte, mtu int) []byte {
	return appendICMP(buf, from, packet, icmpError{
		type4: icmpUnreachable, code4: icmpCodeFragNeeded,
		type6: icmp6PacketTooBig,
		mtu:   mtu,
	})
}

// An icmpError says what is wrong, for either family.
type icmpError struct {
	type4, code4, type6, code6 uint8
	mtu                        int // 0 where it isn't about size
}

func appendICMP(buf []byte, from netip.Addr, packet []byte, e icmpError) []byte {
	var p Inner
	if !p.Parse(packet) || !answerable(&p, packet) {
		return buf
	}
	if p.V6 && from.Is6() {
		return appendICMP6(buf, from, packet[:p.Len], e)
	}
	if !p.V6 && from.Is4() {
		return appendICMP4(buf, from, packet[:p.Len], e)
	}
	return buf
}

// answerable holds the rules of RFC 1122 3.2.2 and RFC 4443 2.4: no error in answer to an ICMP error,
// to a fragment other than the first, to or from an address that names no single host.
func answerable(p *Inner, packet []byte) bool {
	if p.MartianSource() || p.MartianDestination() {
		return false
	}
	if p.V6 {
		return answerable6(p, packet)
	}
	if binary.BigEndian.Uint16(packet[ipv4Fragment:])&0x1fff != 0 {
		return false
	}
	header := int(packet[0]&15) * 4
	return p.Protocol != protocolICMP || p.Len > header && !icmp4IsError(packet[header])
}

// icmp4IsError reports whether a type is an error: unreachable, source quench, redirect, time
// exceeded, parameter problem.
func icmp4IsError(kind uint8) bool {
	switch kind {
	case 3, 4, 5, 11, 12:
		return true
	}
	return false
}

// answerable6 walks the extension headers to the transport. What can't be walked isn't answered.
func answerable6(p *Inner, packet []byte) bool {
	next, at := p.Protocol, ipv6HeaderLen
	for range 8 { // more headers than any honest packet has
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options (RFC 8200 4)
			if at+2 > p.Len {
				return false
			}
			next, at = packet[at], at+8+int(packet[at+1])*8
		case ipv6FragmentHeader:
			if at+8 > p.Len || binary.BigEndian.Uint16(packet[at+2:])&ipv6FragmentOffsets != 0 {
				return false
			}
			next, at = packet[at], at+8
		case protocolICMP6:
			return at < p.Len && packet[at] >= icmp6Informational
		default:
			return at <= p.Len
		}
	}
	return false
}

func appendICMP4(buf []byte, from netip.Addr, packet []byte, e icmpError) []byte {
	quote := packet[:min(len(packet), icmpMaxLen-ipv4HeaderLen-icmpHeaderLen)]
	start, length := len(buf), ipv4HeaderLen+icmpHeaderLen+len(quote)
	buf = append(buf, make([]byte, ipv4HeaderLen+icmpHeaderLen)...)
	buf = append(buf, quote...)

	ip, src := buf[start:], from.As4()
	ip[0], ip[1] = 0x45, icmpTOS
	binary.BigEndian.PutUint16(ip[ipv4TotalLen:], uint16(length))
	binary.BigEndian.PutUint16(ip[ipv4Fragment:], ipv4DontFragment) // so the ID may be 0 (RFC 6864)
	ip[ipv4TTL], ip[ipv4Protocol] = icmpTTL, protocolICMP
	copy(ip[ipv4Source:], src[:])
	copy(ip[ipv4Destination:], packet[ipv4Source:ipv4Destination])
	binary.BigEndian.PutUint16(ip[ipv4Checksum:], ^onesSum(ip[:ipv4HeaderLen]))

	icmp := ip[ipv4HeaderLen:]
	icmp[0], icmp[1] = e.type4, e.code4
	binary.BigEndian.PutUint16(icmp[6:], uint16(min(max(e.mtu, 0), 65535)))
	binary.BigEndian.PutUint16(icmp[2:], ^onesSum(icmp))
	return buf
}

func appendICMP6(buf []byte, from netip.Addr, packet []byte, e icmpError) []byte {
	quote := packet[:min(len(packet), icmp6MaxLen-ipv6HeaderLen-icmpHeaderLen)]
	start, length := len(buf), icmpHeaderLen+len(quote)
	buf = append(buf, make([]byte, ipv6HeaderLen+icmpHeaderLen)...)
	buf = append(buf, quote...)

	ip, src := buf[start:], from.As16()
	ip[0] = 0x60
	binary.BigEndian.PutUint16(ip[ipv6Length:], uint16(length))
	ip[ipv6Next], ip[7] = protocolICMP6, icmpTTL
	copy(ip[ipv6Source:], src[:])
	copy(ip[ipv6Destination:], packet[ipv6Source:ipv6Destination])

	icmp := ip[ipv6HeaderLen:]
	icmp[0], icmp[1] = e.type6, e.code6
	if e.mtu != 0 {
		binary.BigEndian.PutUint32(icmp[4:], uint32(max(e.mtu, icmp6MaxLen)))
	}
	sum := pseudoSum(ip, true, protocolICMP6) + uint64(length) + uint64(onesSum(icmp))
	binary.BigEndian.PutUint16(icmp[2:], ^fold(sum))
	return buf
}
