package tunnel

import "encoding/binary"

// vnetHeaderLen is sizeof(struct virtio_net_hdr): the ten bytes in front of every packet on a TUN
// descriptor with IFF_VNET_HDR. It is also what TUNSETVNETHDRSZ starts with.
const vnetHeaderLen = 10

// The flags and types of struct virtio_net_hdr (include/uapi/linux/virtio_net.h).
const (
	vnetNeedsChecksum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM

	vnetGSONone  = 0    // VIRTIO_NET_HDR_GSO_NONE
	vnetGSOTCP4  = 1    // VIRTIO_NET_HDR_GSO_TCPV4
	vnetGSOTCP6  = 4    // VIRTIO_NET_HDR_GSO_TCPV6
	vnetGSOUDPL4 = 5    // VIRTIO_NET_HDR_GSO_UDP_L4
	vnetGSOECN   = 0x80 // VIRTIO_NET_HDR_GSO_ECN, a bit beside the TCP types
)

// vnetHeader is struct virtio_net_hdr, in the machine's byte order on the descriptor (TUNSETVNETLE
// is never used here).
type vnetHeader struct {
	flags          uint8
	gsoType        uint8
	headerLen      uint16 // a hint on the way in, wrong on forwarded packets: never used
	segmentSize    uint16
	checksumStart  uint16
	checksumOffset uint16
}

// decodeVnet reads the header in front of a packet; b holds at least vnetHeaderLen bytes.
func decodeVnet(b []byte) vnetHeader {
	_ = b[vnetHeaderLen-1]
	return vnetHeader{
		flags:          b[0],
		gsoType:        b[1],
		headerLen:      binary.NativeEndian.Uint16(b[2:]),
		segmentSize:    binary.NativeEndian.Uint16(b[4:]),
		checksumStart:  binary.NativeEndian.Uint16(b[6:]),
		checksumOffset: binary.NativeEndian.Uint16(b[8:]),
	}
}

// encode writes the header to b[:vnetHeaderLen].
func (h vnetHeader) encode(b []byte) {
	_ = b[vnetHeaderLen-1]
	b[0], b[1] = h.flags, h.gsoType
	binary.NativeEndian.PutUint16(b[2:], h.headerLen)
	binary.NativeEndian.PutUint16(b[4:], h.segmentSize)
	binary.NativeEndian.PutUint16(b[6:], h.checksumStart)
	binary.NativeEndian.PutUint16(b[8:], h.checksumOffset)
}

// kind translates gso_type; ok is false for the types that weft never asks the kernel for (UFO, a
// tunnel's).
func (h vnetHeader) kind() (k GSOKind, ok bool) {
	switch h.gsoType &^ vnetGSOECN {
	case vnetGSONone:
		return GSONone, true
	case vnetGSOTCP4:
		return GSOTCP4, true
	case vnetGSOTCP6:
		return GSOTCP6, true
	case vnetGSOUDPL4:
		return GSOUDP, true
	}
	return GSONone, false
}

// metadata turns the header into the GSO metadata of data, the packet behind it, with every length
// computed from the packet. ok is false when header and packet contradict each other: such a packet
// can't be sent on and is malformed.
func (h vnetHeader) metadata(data []byte) (g GSO, ok bool) {
	g.Kind, ok = h.kind()
	if !ok {
		return GSO{}, false
	}
	if h.flags&vnetNeedsChecksum != 0 {
		g.PartialChecksum = true
		g.ChecksumStart, g.ChecksumOffset = h.checksumStart, h.checksumOffset
		if int(g.ChecksumStart)+int(g.ChecksumOffset)+2 > len(data) {
			return GSO{}, false
		}
	}
	if g.Kind == GSONone {
		return g, true
	}
	g.SegmentSize = h.segmentSize
	return g, g.locate(data)
}

// vnetFor returns the header to write in front of a packet described by g.
func vnetFor(g GSO) vnetHeader {
	var h vnetHeader
	if g.PartialChecksum {
		h.flags = vnetNeedsChecksum
		h.checksumStart, h.checksumOffset = g.ChecksumStart, g.ChecksumOffset
	}
	switch g.Kind {
	case GSOTCP4:
		h.gsoType = vnetGSOTCP4
	case GSOTCP6:
		h.gsoType = vnetGSOTCP6
	case GSOUDP:
		h.gsoType = vnetGSOUDPL4
	case GSONone:
		return h
	}
	h.segmentSize, h.headerLen = g.SegmentSize, g.HeaderLen
	return h
}
