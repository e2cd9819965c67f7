package tunnel

import (
	"encoding/binary"
	"net/netip"
)

// What goes in front of the inner packet on an outlet's descriptor:
//
//	24  struct virtio_net_hdr_v1_hash_tunnel, whose offsets count from the Ethernet header
//	14  Ethernet header, which only the outlet's program looks at
//	28  outer IPv4 and UDP header
//	    encapsulation header
//
// Sources: include/uapi/linux/virtio_net.h, include/linux/virtio_net.h (virtio_net_hdr_tnl_to_skb).
const (
	outletVnetLen   = 24
	outletOuterLen  = ipv4HeaderLen + udpHeaderLen
	outletEncapRoom = 64
	outletHeadRoom  = outletVnetLen + ethernetLen + outletOuterLen + outletEncapRoom

	outletOuterAt = 20 // outer_th_offset
	outletInnerAt = 22 // inner_nh_offset
	outletTTL     = 64 // IPDEFTTL, as on packets of the socket

	vnetTunnelIPv4 = 0x20 // VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4, a bit beside the inner type
	vnetTunnelSum  = 8    // VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM: there is an outer checksum, partial as yet
)

// An outletPlace is where a superpacket goes, and how it is cut.
type outletPlace struct {
	slot     byte
	from, to netip.AddrPort // IPv4
	head     []byte         // encapsulation header
	size     int            // payload bytes of a segment
}

// putOutlet writes everything in front of the inner packet p and returns its length. b has room for
// outletHeadRoom.
func putOutlet(b []byte, p *Packet, to outletPlace) int {
	inner := ethernetLen + outletOuterLen + len(to.head)
	vnet := vnetFor(p.GSO)
	vnet.gsoType |= vnetTunnelIPv4
	vnet.flags |= vnetTunnelSum
	vnet.segmentSize = uint16(to.size)
	vnet.headerLen += uint16(inner) // what the kernel keeps in one piece
	vnet.checksumStart += uint16(inner)
	clear(b[:outletVnetLen])
	vnet.encode(b)
	binary.LittleEndian.PutUint16(b[outletOuterAt:], ethernetLen+ipv4HeaderLen)
	binary.LittleEndian.PutUint16(b[outletInnerAt:], uint16(inner))

	// The device's own MAC isn't this one: were the program gone, the kernel would drop the frame as another
	// host's.
	ethernet := b[outletVnetLen:]
	dst, src := MAC{2, 0, 0, 0, 1}, MAC{2, 0, 0, 0, 0, to.slot}
	copy(ethernet, dst[:])
	copy(ethernet[outletSlotAt-5:], src[:])
	binary.BigEndian.PutUint16(ethernet[12:], EtherTypeIPv4)
	putOuter(ethernet[ethernetLen:], to, len(p.Data))
	return outletVnetLen + ethernetLen + outletOuterLen + copy(ethernet[ethernetLen+outletOuterLen:], to.head)
}

// putOuter writes the outer IPv4 and UDP header of a packet that may not be fragmented.
func putOuter(ip []byte, to outletPlace, inner int) {
	length := outletOuterLen + len(to.head) + inner
	src, dst := to.from.Addr().As4(), to.to.Addr().As4()
	clear(ip[:outletOuterLen])
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[ipv4TotalLen:], uint16(length))
	binary.BigEndian.PutUint16(ip[ipv4Fragment:], ipv4DontFragment)
	ip[ipv4TTL], ip[ipv4Protocol] = outletTTL, protocolUDP
	copy(ip[ipv4Source:], src[:])
	copy(ip[ipv4Destination:], dst[:])
	binary.BigEndian.PutUint16(ip[ipv4Checksum:], ^onesSum(ip[:ipv4HeaderLen]))
	udp := ip[ipv4HeaderLen:]
	binary.BigEndian.PutUint16(udp, to.from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.to.Port())
	binary.BigEndian.PutUint16(udp[udpLength:], uint16(length-ipv4HeaderLen))
	// As the kernel leaves it on a superpacket (udp_set_csum): the pseudo header's sum, not inverted.
	binary.BigEndian.PutUint16(udp[udpChecksum:], fold(pseudoSum(ip, false, protocolUDP)+uint64(length-ipv4HeaderLen)))
}

// outletSlotAt is where the Ethernet header tells the program whose frame it is: the last byte of the source.
const outletSlotAt = 11
