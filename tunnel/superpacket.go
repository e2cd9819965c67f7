package tunnel

import "encoding/binary"

// Superpacket describes an inner packet that arrived larger than the MTU in one datagram. A kernel
// VXLAN or eBPF sender whose underlay passes GSO (veth, virtio) hands over what it had before
// segmentation, without the segment size and with the transport checksum still partial
// (udp_unexpected_gso lets SKB_GSO_UDP_TUNNEL through to any socket).
//
// data is the inner packet, already validated and cut to its IP length; mtu the largest inner packet
// in bytes. hint is the datagram's SegmentSize, if the whole of data came with one: with UDP_GRO on
// the kernel then reports the inner segment size of a UDP superpacket.
//
// Packets up to mtu come back as they are, only a partial checksum is noticed. ok is false when data
// is larger than mtu and can't be cut: UDP without a hint, whose datagram borders are lost, anything
// that isn't TCP or UDP, and IPv6 extension headers.
func Superpacket(data []byte, hint, mtu int) (p Packet, ok bool) {
	p.Data = data
	h, plain := parseHeaders(data)
	if !plain {
		return p, len(data) <= mtu
	}
	if partialField(data, h) {
		p.GSO.PartialChecksum = true
		p.GSO.ChecksumStart, p.GSO.ChecksumOffset = uint16(h.ip), checksumField(h.protocol)
	}
	if len(data) <= mtu {
		return p, true
	}
	p.GSO.HeaderLen, p.GSO.ChecksumStart = uint16(h.all), uint16(h.ip)
	p.GSO.ChecksumOffset = checksumField(h.protocol)
	size := mtu - h.all
	switch {
	case h.protocol == protocolUDP:
		p.GSO.Kind, size = GSOUDP, hint
	case h.v6:
		p.GSO.Kind = GSOTCP6
	default:
		p.GSO.Kind = GSOTCP4
	}
	p.GSO.SegmentSize = uint16(max(size, 0))
	return p, size > 0 && size <= mtu-h.all
}

// partialField reports whether the checksum field holds the bare pseudo-header sum. A complete
// checksum looks like it once in 65,536 packets, and is then finished by whoever reads the partial
// one: the sum of a right packet comes out the same.
func partialField(data []byte, h headers) bool {
	field := binary.BigEndian.Uint16(data[h.ip+int(checksumField(h.protocol)):])
	return field == fold(pseudoSum(data, h.v6, h.protocol)+uint64(len(data)-h.ip))
}
