package tunnel

import "encoding/binary"

// VXLAN puts a header of eight bytes and an Ethernet frame into a UDP datagram. The bytes are those of
// Linux (include/net/vxlan.h, drivers/net/vxlan/vxlan_core.c), so that a kernel's device is a peer:
//
//	 0                   1                   2                   3
//	|G|R R R|I|R R R|R|D|C R|A|R R R|       group policy ID         |   flags; the ID counts where G is set
//	|        VXLAN network identifier               |O| sum start   |   O and start count where C is set
//	|                destination MAC ······                         |
//	|      ······                   |            source MAC ······  |
//	|                               |        EtherType              |   then the inner packet
//
// C is remote checksum offload: the inner transport checksum is left partial. Its header starts 2 × start
// bytes behind the first of the Ethernet header; O says UDP, else TCP.
//
// Sources: RFC 7348 section 5, draft-herbert-vxlan-rco-00, draft-smith-vxlan-group-policy-05.
const (
	vxlanBaseLen    = 8
	ethernetLen     = 14
	vxlanSource     = vxlanBaseLen + 6
	vxlanEtherType  = vxlanBaseLen + 12
	vxlanVNIFlag    = 1 << 27 // VXLAN_HF_VNI
	vxlanRemoteSum  = 1 << 21 // VXLAN_HF_RCO
	vxlanGroup      = 1 << 31 // VXLAN_HF_GBP
	vxlanGroupBits  = 1<<31 | 0xffffff
	vxlanStartBits  = 0x7f // VXLAN_RCO_MASK: half the checksum start
	vxlanSumIsUDP   = 0x80 // VXLAN_RCO_UDP
	vxlanSumMask    = vxlanStartBits | vxlanSumIsUDP
	vxlanStartShift = 1 // VXLAN_RCO_SHIFT

	// VXLANHeaderLen is the bytes in front of the inner packet: VXLAN and Ethernet header.
	VXLANHeaderLen = vxlanBaseLen + ethernetLen

	// MaxVNI is the largest network identifier: 24 bits.
	MaxVNI = 1<<24 - 1
)

// EtherTypes of the frames that a fabric carries (IEEE 802 numbers).
const (
	EtherTypeIPv4 = 0x0800
	EtherTypeARP  = 0x0806
	EtherTypeIPv6 = 0x86dd
)

// A MAC is an Ethernet address.
type MAC [6]byte

// Group reports whether the address means many stations: multicast or broadcast (IEEE 802 8.2).
func (m MAC) Group() bool { return m[0]&1 != 0 }

// Usable reports whether a station can have the address: neither a group nor all zeros.
func (m MAC) Usable() bool { return !m.Group() && m != MAC{} }

// A VXLAN is what the headers in front of an inner packet say.
type VXLAN struct {
	VNI       uint32 // 0 to MaxVNI
	Dst, Src  MAC
	EtherType uint16
	// RemoteSum: the sender left the inner checksum partial. Only a peer that is known to send outer
	// checksums may be believed to.
	RemoteSum bool
}

// Put writes the headers into the first VXLANHeaderLen bytes of b. Where RemoteSum is set, sum says where
// the inner checksum is; the transport header must then start within 240 bytes of the packet, at an
// even place, as it always does behind an IP header. Otherwise sum is not looked at and may be nil.
func (v *VXLAN) Put(b []byte, sum *GSO) {
	_ = b[VXLANHeaderLen-1]
	flags, word := uint32(vxlanVNIFlag), v.VNI<<8
	if v.RemoteSum {
		flags |= vxlanRemoteSum
		word |= (uint32(sum.ChecksumStart) + ethernetLen) >> vxlanStartShift & vxlanStartBits
		if sum.ChecksumOffset == udpChecksum {
			word |= vxlanSumIsUDP
		}
	}
	binary.BigEndian.PutUint32(b, flags)
	binary.BigEndian.PutUint32(b[4:], word)
	copy(b[vxlanBaseLen:], v.Dst[:])
	copy(b[vxlanSource:], v.Src[:])
	binary.BigEndian.PutUint16(b[vxlanEtherType:], v.EtherType)
}

// ParseVXLAN takes the headers off a datagram. inner is what follows them, not looked into except for the
// place of a remote checksum, its GSO filled with what that says; it shares memory with data and
// may end in padding, as any Ethernet frame may. Whose the VNI and the MACs are is the caller's affair.
//
// A group policy (G) is ignored, as by a kernel whose device has the extension. ok is false for what a
// Linux device drops too: no VNI flag, other flags or a last byte that no flag explains (RFC 7348
// would ignore them; a later extension may not mean what is read here), a source MAC that no
// station has; and for checksum places other than the packet's own.
func ParseVXLAN(data []byte) (v VXLAN, inner Packet, ok bool) {
	if len(data) <= VXLANHeaderLen {
		return v, inner, false
	}
	flags, word := binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])
	v = VXLAN{
		VNI: word >> 8, Dst: MAC(data[vxlanBaseLen:]), Src: MAC(data[vxlanSource:]),
		EtherType: binary.BigEndian.Uint16(data[vxlanEtherType:]), RemoteSum: flags&vxlanRemoteSum != 0,
	}
	inner.Data = data[VXLANHeaderLen:]
	unread := flags &^ (vxlanVNIFlag | vxlanRemoteSum)
	if flags&vxlanGroup != 0 {
		// C lies among the group's reserved bits, and no kernel reads it there as anything but C.
		unread &^= vxlanGroupBits
	}
	if flags&vxlanVNIFlag == 0 || unread != 0 || !v.Src.Usable() {
		return v, inner, false
	}
	if !v.RemoteSum {
		return v, inner, word&vxlanSumMask == 0
	}
	start := int(word&vxlanStartBits) << vxlanStartShift
	if start < ethernetLen {
		return v, inner, false
	}
	offset := uint16(tcpChecksum)
	if word&vxlanSumIsUDP != 0 {
		offset = udpChecksum
	}
	inner.GSO = GSO{PartialChecksum: true, ChecksumStart: uint16(start - ethernetLen), ChecksumOffset: offset}
	return v, inner, inner.partialFits()
}
