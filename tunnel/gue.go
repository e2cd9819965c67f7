package tunnel

import "encoding/binary"

// GUE variant 0 with one option, remote checksum: the format between two weft hosts. The sender
// leaves the inner transport checksum as its pseudo-header sum and says where the field is; the
// outer UDP checksum, which hardware or the kernel computes, covers every byte on the way, so
// neither end sums the payload. The bytes are those of Linux (include/net/gue.h, net/ipv4/fou_core.c):
//
//	 0                   1                   2                   3
//	|0 0|C|  Hlen   |  protocol     |            flags            |P|   Hlen counts words after this one
//	|R|                  private flags                              |   only where P is set
//	|        checksum start         |        checksum field         |   only where R is set
//
// checksum start and checksum field count bytes from the inner packet's first.
//
// Sources: draft-ietf-intarea-gue-09 section 3, draft-herbert-remotecsumoffload-02 section 2.
const (
	gueBaseLen = 4

	// GUEHeaderLen is the bytes of the header that PutGUE writes: base, private flags, remote
	// checksum (GUE_LEN_PRIV + GUE_PLEN_REMCSUM).
	GUEHeaderLen = gueBaseLen + 4 + 4

	gueControl    = 1 << 5  // C bit of the first byte
	gueHlenMask   = 0x1f    // words of the options
	guePrivate    = 1 << 0  // GUE_FLAG_PRIV in the 16-bit flags
	gueRemoteSum  = 1 << 31 // GUE_PFLAG_REMCSUM in the 32-bit private flags
	gueIPv4       = 4       // IPPROTO_IPIP
	gueIPv6       = 41      // IPPROTO_IPV6
	gueVersion    = 6       // shift of the version in the first byte; 1 is the headerless format
	gueWordLen    = 4
	gueHlenOfSums = (GUEHeaderLen - gueBaseLen) / gueWordLen
)

// PutGUE writes the header in front of an inner packet whose transport checksum is partial, as g
// says, into the first GUEHeaderLen bytes of b. version is the inner packet's, 4 or 6.
func PutGUE(b []byte, version byte, g *GSO) {
	protocol := byte(gueIPv4)
	if version == 6 {
		protocol = gueIPv6
	}
	_ = b[GUEHeaderLen-1]
	b[0], b[1] = gueHlenOfSums, protocol
	binary.BigEndian.PutUint16(b[2:], guePrivate)
	binary.BigEndian.PutUint32(b[4:], gueRemoteSum)
	binary.BigEndian.PutUint16(b[8:], g.ChecksumStart)
	binary.BigEndian.PutUint16(b[10:], g.ChecksumStart+g.ChecksumOffset)
}

// IsGUE reports whether a datagram on the port that both formats share starts with a GUE variant 0
// header: the two bits that are an IP version's upper half in the headerless format are 0.
func IsGUE(data []byte) bool { return len(data) > 0 && data[0]>>gueVersion == 0 }

// ParseGUE takes the header off a datagram. inner is the rest, its GSO filled with what the remote
// checksum option says; Data is not looked into, and shares memory with data. ok is false for
// everything that weft doesn't send: control messages, other protocols, options it doesn't know (the
// draft forbids skipping them), a header longer than the datagram, offsets outside it.
func ParseGUE(data []byte) (inner Packet, ok bool) {
	if len(data) < gueBaseLen || data[0]>>gueVersion != 0 || data[0]&gueControl != 0 {
		return inner, false
	}
	header := gueBaseLen + int(data[0]&gueHlenMask)*gueWordLen
	if header >= len(data) || (data[1] != gueIPv4 && data[1] != gueIPv6) {
		return inner, false
	}
	inner.Data = data[header:]
	if version := inner.Data[0] >> 4; (version == 6) != (data[1] == gueIPv6) {
		return inner, false
	}
	switch flags := binary.BigEndian.Uint16(data[2:]); {
	case flags == 0 && header == gueBaseLen:
		return inner, true
	case flags != guePrivate || header != GUEHeaderLen || binary.BigEndian.Uint32(data[4:]) != gueRemoteSum:
		return inner, false
	}
	start, field := binary.BigEndian.Uint16(data[8:]), binary.BigEndian.Uint16(data[10:])
	if field < start || int(field)+2 > len(inner.Data) {
		return inner, false
	}
	inner.GSO = GSO{PartialChecksum: true, ChecksumStart: start, ChecksumOffset: field - start}
	return inner, inner.partialFits()
}

// partialFits reports whether the offsets of a partial checksum are those of the packet's own
// transport header. A peer that could point them anywhere could have the kernel write two bytes of
// a checksum over any part of the packet.
func (p *Packet) partialFits() bool {
	h, ok := parseHeaders(p.Data)
	return ok && int(p.GSO.ChecksumStart) == h.ip && p.GSO.ChecksumOffset == checksumField(h.protocol)
}
