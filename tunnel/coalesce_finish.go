package tunnel

import "encoding/binary"

// finish writes the head of a superpacket: the headers of its first packet with lengths, flags and
// checksums of the whole. The packets themselves stay as they were, so that a superpacket which the
// kernel refuses can still go out piece by piece.
func (f *flow) finish(c *coalescer, w *write) {
	head := c.heads[f.write*maxSuperHeader:][:vnetHeaderLen+f.h.all]
	packet := head[vnetHeaderLen:]
	copy(packet, f.first[:f.h.all])
	f.finishIP(packet)
	g := GSO{
		Kind: f.kind(), SegmentSize: uint16(f.size), HeaderLen: uint16(f.h.all),
		ChecksumStart: uint16(f.h.ip), ChecksumOffset: checksumField(f.h.protocol),
	}
	th := packet[f.h.ip:]
	length := uint64(f.bytes - f.h.ip)
	// CHECKSUM_PARTIAL where the segments were, and always for UDP, whose checksums were verified.
	g.PartialChecksum = f.partial || g.Kind == GSOUDP
	sum := pseudoSum(f.first, f.h.v6, f.h.protocol) + length
	if g.Kind == GSOUDP {
		binary.BigEndian.PutUint16(th[udpLength:], uint16(length))
	} else {
		th[tcpFlags] |= f.closing
		if !g.PartialChecksum {
			sum = uint64(^fold(f.base + length + f.payload + uint64(f.varyingWhole(th))))
		}
	}
	binary.BigEndian.PutUint16(th[g.ChecksumOffset:], fold(sum))
	vnetFor(g).encode(head)
	w.head, w.skip = head, f.h.all
}

// varyingWhole is varyingSum of the superpacket's own TCP header without the checksum field.
func (f *flow) varyingWhole(th []byte) uint16 {
	return fold(uint64(varyingSum(th)) + uint64(^binary.BigEndian.Uint16(th[tcpChecksum:])))
}

// finishIP sets the length of the superpacket, and the checksum that covers it.
func (f *flow) finishIP(packet []byte) {
	if f.h.v6 {
		binary.BigEndian.PutUint16(packet[ipv6Length:], uint16(f.bytes-ipv6HeaderLen))
		return
	}
	binary.BigEndian.PutUint16(packet[ipv4TotalLen:], uint16(f.bytes))
	binary.BigEndian.PutUint16(packet[ipv4Checksum:], 0)
	binary.BigEndian.PutUint16(packet[ipv4Checksum:], ^onesSum(packet[:ipv4HeaderLen]))
}

// kind returns what the flow's superpacket is.
func (f *flow) kind() GSOKind {
	switch {
	case f.h.protocol == protocolUDP:
		return GSOUDP
	case f.h.v6:
		return GSOTCP6
	}
	return GSOTCP4
}
