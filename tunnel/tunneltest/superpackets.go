package tunneltest

import (
	"encoding/binary"

	"weft/tunnel"
)

// Superpacket returns a TCP superpacket of the flow, as a TUN device hands it over: its checksum
// partial, its payload to be cut into segments of size bytes.
func Superpacket(f Flow, sequence uint32, payload []byte, size int) tunnel.Packet {
	p := Partial(f.TCP(sequence, payload))
	p.GSO.Kind = tunnel.GSOTCP4
	if f.Src.Addr().Is6() {
		p.GSO.Kind = tunnel.GSOTCP6
	}
	p.GSO.SegmentSize = uint16(size)
	p.GSO.HeaderLen = p.GSO.ChecksumStart + 20
	return p
}

// Partial returns a TCP or UDP packet, without IP options or extension headers, with its checksum
// reduced to the pseudo header's sum, as the kernel leaves it to an offload. It changes packet.
func Partial(packet []byte) tunnel.Packet {
	start, protocol, addresses := 20, packet[9], packet[12:20]
	if packet[0]>>4 == 6 {
		start, protocol, addresses = 40, packet[6], packet[8:40]
	}
	offset := 16
	if protocol == UDP {
		offset = 6
	}
	pseudo := append([]byte(nil), addresses...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(packet)-start))
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(protocol))
	binary.BigEndian.PutUint16(packet[start+offset:], ^Checksum(pseudo))
	return tunnel.Packet{Data: packet, GSO: tunnel.GSO{
		PartialChecksum: true, ChecksumStart: uint16(start), ChecksumOffset: uint16(offset),
	}}
}
