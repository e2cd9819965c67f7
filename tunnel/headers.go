package tunnel

import "encoding/binary"

// Protocol numbers of the two transports that can be segmented (RFC 5237, IANA).
const (
	protocolTCP = 6
	protocolUDP = 17
)

// Offsets and sizes in bytes, within the header each belongs to (RFC 791, 8200, 9293, 768).
const (
	ipv4HeaderLen = 20 // without options
	ipv6HeaderLen = 40
	tcpHeaderLen  = 20 // without options
	udpHeaderLen  = 8

	ipv4TotalLen  = 2
	ipv4ID        = 4
	ipv4Fragment  = 6
	ipv4TTL       = 8
	ipv4Protocol  = 9
	ipv4Checksum  = 10
	ipv6Length    = 4
	ipv6Next      = 6
	tcpSequence   = 4
	tcpAck        = 8
	tcpDataOffset = 12
	tcpFlags      = 13
	tcpChecksum   = 16
	udpLength     = 4
	udpChecksum   = 6

	ipv4DontFragment = 0x4000
	ipv4FragmentMask = 0x3fff // more-fragments bit and offset
)

// TCP flags (RFC 9293 3.1, RFC 3168).
const (
	tcpFIN = 1 << 0
	tcpSYN = 1 << 1
	tcpRST = 1 << 2
	tcpPSH = 1 << 3
	tcpURG = 1 << 5
	tcpCWR = 1 << 7
)

// headers says where the headers of one packet end. Lengths are bytes from the packet's first.
type headers struct {
	v6       bool
	protocol uint8
	ip       int // length of the IP header: where the transport header starts
	all      int // length of IP and transport header: where the payload starts
}

// parseHeaders finds the transport header of a whole TCP or UDP packet. ok is false for everything
// that can't be segmented or coalesced by looking at fixed headers: other protocols, fragments, IPv6
// extension headers, and packets whose lengths don't agree with len(data).
func parseHeaders(data []byte) (h headers, ok bool) {
	if len(data) < ipv4HeaderLen {
		return h, false
	}
	switch data[0] >> 4 {
	case 4:
		h.ip = int(data[0]&15) * 4
		if h.ip < ipv4HeaderLen || int(binary.BigEndian.Uint16(data[ipv4TotalLen:])) != len(data) ||
			binary.BigEndian.Uint16(data[ipv4Fragment:])&ipv4FragmentMask != 0 {
			return h, false
		}
		h.protocol = data[ipv4Protocol]
	case 6:
		h.v6, h.ip = true, ipv6HeaderLen
		if len(data) < ipv6HeaderLen || int(binary.BigEndian.Uint16(data[ipv6Length:])) != len(data)-ipv6HeaderLen {
			return h, false
		}
		h.protocol = data[ipv6Next]
	default:
		return h, false
	}
	h.all, ok = transportEnd(data, h.ip, h.protocol)
	return h, ok
}

// transportEnd returns where the payload starts, given where the transport header does.
func transportEnd(data []byte, start int, protocol uint8) (end int, ok bool) {
	switch protocol {
	case protocolTCP:
		if len(data) < start+tcpHeaderLen {
			return 0, false
		}
		end = start + int(data[start+tcpDataOffset]>>4)*4
		return end, end >= start+tcpHeaderLen && end <= len(data)
	case protocolUDP:
		end = start + udpHeaderLen
		return end, end <= len(data)
	}
	return 0, false
}

// protocol returns the IP protocol number that a superpacket of this kind carries.
func (k GSOKind) protocol() uint8 {
	if k == GSOUDP {
		return protocolUDP
	}
	return protocolTCP
}

// locate fills the offsets of a superpacket's metadata from the packet itself and reports whether
// the two agree. A partial checksum tells where the transport header starts, so that superpackets
// with IPv6 extension headers are understood too; without one the headers must be plain.
func (g *GSO) locate(data []byte) bool {
	if len(data) < ipv4HeaderLen || g.SegmentSize == 0 {
		return false
	}
	v6 := data[0]>>4 == 6
	if !v6 && data[0]>>4 != 4 || g.Kind == GSOTCP4 && v6 || g.Kind == GSOTCP6 && !v6 {
		return false
	}
	if !g.PartialChecksum {
		h, ok := parseHeaders(data)
		g.ChecksumStart, g.HeaderLen = uint16(h.ip), uint16(h.all)
		g.ChecksumOffset = checksumField(g.Kind.protocol())
		return ok && h.protocol == g.Kind.protocol()
	}
	ip := max(int(data[0]&15)*4, ipv4HeaderLen)
	if v6 {
		ip = ipv6HeaderLen
	}
	if int(g.ChecksumStart) < ip || !v6 && int(g.ChecksumStart) != ip || g.ChecksumOffset != checksumField(g.Kind.protocol()) {
		return false
	}
	end, ok := transportEnd(data, int(g.ChecksumStart), g.Kind.protocol())
	g.HeaderLen = uint16(end)
	return ok
}

// checksumField returns the offset of the checksum in a transport header.
func checksumField(protocol uint8) uint16 {
	if protocol == protocolTCP {
		return tcpChecksum
	}
	return udpChecksum
}
