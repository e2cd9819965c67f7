package tunnel

import (
	"encoding/binary"
	"net/netip"
)

// Neighbour questions: a kernel VXLAN device without a permanent neighbour entry asks who has a peer's
// VTEP address before it sends, with ARP (RFC 826) or neighbour solicitation (RFC 4861 4.3). A TUN device
// has no neighbours, so weft answers for itself.

// A NeighbourQuestion asks for the MAC of an address.
type NeighbourQuestion struct {
	Target   netip.Addr // whose MAC is asked for
	Asker    netip.Addr // of the same family
	AskerMAC MAC        // where the answer goes; usable
}

// Offsets in ARP for Ethernet and IPv4 (RFC 826; struct arphdr).
const (
	arpOperation  = 6
	arpSenderMAC  = 8
	arpSender     = 14
	arpTargetMAC  = 18
	arpTarget     = 24
	arpLen        = 28
	arpRequest    = 1
	arpReply      = 2
	arpForUs      = 0x0001_0800 // hardware type Ethernet, protocol IPv4
	arpAddrLens   = 0x0604      // bytes of a MAC and of an IPv4 address
	arpLensOffset = 4
)

// Neighbour discovery (RFC 4861 4.1, 4.3, 4.4, 4.6.1).
const (
	icmp6RouterSolicitation = 133
	icmp6Solicitation       = 135
	icmp6Advertisement      = 136
	ndHopLimit              = 255
	ndMessageLen            = 24 // of 4.3 and 4.4 without options
	ndOptionSource          = 1  // source link-layer address
	ndOptionTarget          = 2  // target link-layer address
	ndOptionLen             = 8  // of both on Ethernet
	ndSolicitedOverride     = 0x60
	ipv6HopLimit            = 7
)

// ParseARP reads an ARP request for an IPv4 address, without its Ethernet header; padding behind it is
// allowed. ok is false for anything else, replies and gratuitous announcements among it.
func ParseARP(data []byte) (q NeighbourQuestion, ok bool) {
	if len(data) < arpLen || binary.BigEndian.Uint32(data) != arpForUs ||
		binary.BigEndian.Uint16(data[arpLensOffset:]) != arpAddrLens || binary.BigEndian.Uint16(data[arpOperation:]) != arpRequest {
		return q, false
	}
	q = NeighbourQuestion{
		Target: netip.AddrFrom4([4]byte(data[arpTarget:])), Asker: netip.AddrFrom4([4]byte(data[arpSender:])),
		AskerMAC: MAC(data[arpSenderMAC:]),
	}
	return q, q.AskerMAC.Usable() && q.Target != q.Asker
}

// AppendARPReply appends to buf the answer to an IPv4 question, without Ethernet header: mac has the target.
func AppendARPReply(buf []byte, q NeighbourQuestion, mac MAC) []byte {
	buf = binary.BigEndian.AppendUint32(buf, arpForUs)
	buf = binary.BigEndian.AppendUint16(buf, arpAddrLens)
	buf = binary.BigEndian.AppendUint16(buf, arpReply)
	target, asker := q.Target.As4(), q.Asker.As4()
	buf = append(append(buf, mac[:]...), target[:]...)
	return append(append(buf, q.AskerMAC[:]...), asker[:]...)
}

// IsRouterSolicitation reports whether an IPv6 packet, as Inner.Parse accepts it, asks for routers. Every
// Linux device sends some when it comes up.
func IsRouterSolicitation(packet []byte) bool {
	return len(packet) > ipv6HeaderLen && packet[0]>>4 == 6 && packet[ipv6Next] == protocolICMP6 &&
		packet[ipv6HeaderLen] == icmp6RouterSolicitation
}

// ParseSolicitation reads a neighbour solicitation from an IPv6 packet as Inner.Parse accepts it, cut to its
// length. from is the source MAC of its frame, for those without an option that names one. ok is
// false for what RFC 4861 7.1.1 has a node discard, for duplicate address detection, which names no
// asker, and for everything else.
func ParseSolicitation(packet []byte, from MAC) (q NeighbourQuestion, ok bool) {
	if len(packet) < ipv6HeaderLen+ndMessageLen || packet[0]>>4 != 6 ||
		packet[ipv6Next] != protocolICMP6 || packet[ipv6HopLimit] != ndHopLimit {
		return q, false
	}
	icmp := packet[ipv6HeaderLen:]
	sum := pseudoSum(packet, true, protocolICMP6) + uint64(len(icmp)) + uint64(onesSum(icmp))
	if icmp[0] != icmp6Solicitation || icmp[1] != 0 || fold(sum) != 0xffff {
		return q, false
	}
	q = NeighbourQuestion{
		Target: netip.AddrFrom16([16]byte(icmp[8:])), Asker: netip.AddrFrom16([16]byte(packet[ipv6Source:])), AskerMAC: from,
	}
	for options := icmp[ndMessageLen:]; len(options) > 0; {
		if len(options) < 2 || options[1] == 0 || int(options[1])*8 > len(options) {
			return q, false
		}
		if options[0] == ndOptionSource && options[1] == ndOptionLen/8 {
			q.AskerMAC = MAC(options[2:])
		}
		options = options[int(options[1])*8:]
	}
	return q, !q.Target.IsMulticast() && !q.Asker.IsMulticast() && !q.Asker.IsUnspecified() && q.AskerMAC.Usable()
}

// AppendAdvertisement appends to buf the IPv6 packet that answers a solicitation: mac has the target.
func AppendAdvertisement(buf []byte, q NeighbourQuestion, mac MAC) []byte {
	start, target, asker := len(buf), q.Target.As16(), q.Asker.As16()
	buf = append(buf, 0x60, 0, 0, 0, 0, ndMessageLen+ndOptionLen, protocolICMP6, ndHopLimit)
	buf = append(append(buf, target[:]...), asker[:]...)
	buf = append(buf, icmp6Advertisement, 0, 0, 0, ndSolicitedOverride, 0, 0, 0)
	buf = append(append(buf, target[:]...), ndOptionTarget, ndOptionLen/8)
	buf = append(buf, mac[:]...)
	packet := buf[start:]
	icmp := packet[ipv6HeaderLen:]
	sum := pseudoSum(packet, true, protocolICMP6) + uint64(len(icmp)) + uint64(onesSum(icmp))
	binary.BigEndian.PutUint16(icmp[2:], ^fold(sum))
	return buf
}
