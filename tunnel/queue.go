package tunnel

// A Packet is one inner IP packet, or a superpacket that stands for many segments.
//
// Data starts at the version nibble of the IP header and ends with the packet: link-layer padding
// is never part of it. Who owns Data is said by the call that hands the Packet over.
type Packet struct {
	Data []byte
	GSO  GSO
}

// GSO says how a superpacket falls into segments and what state its transport checksum is in. The
// zero value describes an ordinary packet whose checksums are complete.
//
// It carries the meaning of struct virtio_net_hdr (include/uapi/linux/virtio_net.h), with two
// differences: every offset is computed from the packet itself, since hdr_len can't be trusted on
// forwarded packets, and "no transport checksum asked for" is told apart from "complete".
type GSO struct {
	Kind        GSOKind
	SegmentSize uint16 // transport payload bytes per segment (gso_size); the last may be shorter
	HeaderLen   uint16 // bytes of IP and transport header that every segment repeats

	// PartialChecksum: the transport checksum field holds the folded, not inverted, sum of the
	// pseudo header only, as CHECKSUM_PARTIAL leaves it. Whoever puts the packet where nobody
	// finishes it must add the sum of Data[ChecksumStart:] and store its complement at
	// ChecksumStart+ChecksumOffset.
	PartialChecksum bool
	ChecksumStart   uint16 // offset of the transport header in Data
	ChecksumOffset  uint16 // offset of the checksum field in the transport header
}

// GSOKind names how the segments of a superpacket are told apart.
type GSOKind uint8

// The kinds of superpacket, with the virtio_net_hdr gso_type each stands for.
const (
	GSONone GSOKind = iota // one ordinary packet: VIRTIO_NET_HDR_GSO_NONE
	GSOTCP4                // VIRTIO_NET_HDR_GSO_TCPV4
	GSOTCP6                // VIRTIO_NET_HDR_GSO_TCPV6
	GSOUDP                 // VIRTIO_NET_HDR_GSO_UDP_L4, either family
)

// A Queue is one descriptor of a TUN device: inner packets out of the kernel and into it.
//
// One goroutine may read while another writes; neither method may be called twice at once. Every
// implementation passes the suite in tunneltest.
type Queue interface {
	// ReadBatch waits until at least one packet is there, takes what else is ready without waiting,
	// up to len(packets) or the queue's own byte limit, and fills packets[:n]. The Data of each is
	// the queue's memory, valid until the next ReadBatch. n is 0 only beside an error. The error
	// is os.ErrClosed (wrapped or not) after Close; any other means the device is gone.
	ReadBatch(packets []Packet) (n int, err error)

	// WriteBatch hands packets to the kernel in order, coalescing consecutive segments of one flow
	// where the device takes superpackets. It borrows Data until it returns and may change header
	// bytes in it. n counts the packets (as given, before coalescing) that the kernel took; the
	// others were refused one by one and stay lost, as on any link. err is only set when the
	// device is gone or closed.
	WriteBatch(packets []Packet) (n int, err error)

	// Offloads reports what this queue does with superpackets right now. Rungs only ever go off.
	Offloads() Offloads

	// Close unblocks a waiting ReadBatch and releases the descriptor. Safe to call from any
	// goroutine and more than once.
	Close() error
}
