package tunnel

import (
	"encoding/binary"
	"net/netip"
)

// What goes in front of the inner packet on an outlet's descriptor:
//
//	24  struct virtio_net_hdr_v1_hash_tunnel, whose offsets count from the Ethernet header
//	14  Ethernet header, which only the outlet's program looks at
//	28  outer IPv4 and UDP header, or 48 of IPv6
//	    encapsulation header
//
// Sources: include/uapi/linux/virtio_net.h, include/linux/virtio_net.h (virtio_net_hdr_tnl_to_skb).
const (
	outletVnetLen   = 24
	outletEncapRoom = 64
	outletHeadRoom  = outletVnetLen + ethernetLen + ipv6HeaderLen + udpHeaderLen + outletEncapRoom

	outletOuterAt = 20 // outer_th_offset
	outletInnerAt = 22 // inner_nh_offset
	outletTTL     = 64 // IPDEFTTL, as on packets of the socket

	vnetTunnelIPv4 = 0x20 // VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4, a bit beside the inner type
	vnetTunnelIPv6 = 0x40 // VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6
	vnetTunnelSum  = 8    // VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM: there is an outer checksum, partial as yet
)

// An outletPlace is where a superpacket goes, and how it is cut.
type outletPlace struct {
	slot     byte
	from, to netip.AddrPort // of one family
	head     []byte         // encapsulation header
	size     int            // payload bytes of a segment
}

// putOutlet writes everything in front of the inner packet p and returns its length. b has room for
// outletHeadRoom.
func putOutlet(b []byte, p *Packet, to outletPlace) int {
	outer := outerLen(to.to.Addr())
	inner := ethernetLen + outer + len(to.head)
	vnet := vnetFor(p.GSO)
	family, etherType := uint8(vnetTunnelIPv4), uint16(EtherTypeIPv4)
	if to.to.Addr().Is6() {
		family, etherType = vnetTunnelIPv6, EtherTypeIPv6
	}
	vnet.gsoType |= family
	vnet.flags |= vnetTunnelSum
	vnet.segmentSize = uint16(to.size)
	vnet.headerLen += uint16(inner) // what the kernel keeps in one piece
	vnet.checksumStart += uint16(inner)
	clear(b[:outletVnetLen])
	vnet.encode(b)
	binary.LittleEndian.PutUint16(b[outletOuterAt:], uint16(ethernetLen+outer-udpHeaderLen))
	binary.LittleEndian.PutUint16(b[outletInnerAt:], uint16(inner))

	// The device's own MAC isn't this one: were the program gone, the kernel would drop the frame as another
	// host's.
	ethernet := b[outletVnetLen:]
	dst, src := MAC{2, 0, 0, 0, 1}, MAC{2, 0, 0, 0, 0, to.slot}
	copy(ethernet, dst[:])
	copy(ethernet[outletSlotAt-5:], src[:])
	binary.BigEndian.PutUint16(ethernet[12:], etherType)
	putOuter(ethernet[ethernetLen:], to, len(p.Data))
	return outletVnetLen + ethernetLen + outer + copy(ethernet[ethernetLen+outer:], to.head)
}

// outerLen is the length of the outer headers towards an address: IP and UDP.
func outerLen(to netip.Addr) int {
	if to.Is6() {
		return ipv6HeaderLen + udpHeaderLen
	}
	return ipv4HeaderLen + udpHeaderLen
}

// putOuter writes the outer IP and UDP header of a packet that may not be fragmented.
func putOuter(ip []byte, to outletPlace, inner int) {
	outer := outerLen(to.to.Addr())
	length := outer + len(to.head) + inner
	clear(ip[:outer])
	if to.to.Addr().Is6() {
		src, dst := to.from.Addr().As16(), to.to.Addr().As16()
		ip[0] = 0x60
		binary.BigEndian.PutUint16(ip[ipv6Length:], uint16(length-ipv6HeaderLen))
		ip[ipv6Next], ip[ipv6HopLimit] = protocolUDP, outletTTL
		copy(ip[ipv6Source:], src[:])
		copy(ip[ipv6Destination:], dst[:])
	} else {
		src, dst := to.from.Addr().As4(), to.to.Addr().As4()
		ip[0] = 0x45
		binary.BigEndian.PutUint16(ip[ipv4TotalLen:], uint16(length))
		binary.BigEndian.PutUint16(ip[ipv4Fragment:], ipv4DontFragment)
		ip[ipv4TTL], ip[ipv4Protocol] = outletTTL, protocolUDP
		copy(ip[ipv4Source:], src[:])
		copy(ip[ipv4Destination:], dst[:])
		binary.BigEndian.PutUint16(ip[ipv4Checksum:], ^onesSum(ip[:ipv4HeaderLen]))
	}
	udp := ip[outer-udpHeaderLen:]
	datagram := udpHeaderLen + len(to.head) + inner
	binary.BigEndian.PutUint16(udp, to.from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.to.Port())
	binary.BigEndian.PutUint16(udp[udpLength:], uint16(datagram))
	// As the kernel leaves it on a superpacket (udp_set_csum): the pseudo header's sum, not inverted.
	binary.BigEndian.PutUint16(udp[udpChecksum:], fold(pseudoSum(ip, to.to.Addr().Is6(), protocolUDP)+uint64(datagram)))
}

// outletSlotAt is where the Ethernet header tells the program whose frame it is: the last byte of the source.
const outletSlotAt = 11
