package tunneltest

import (
	"encoding/binary"
	"net/netip"
)

// Protocol numbers of the packets that can be built here.
const (
	TCP = 6
	UDP = 17
)

// A Flow is what packets of one conversation have in common.
type Flow struct {
	Src, Dst netip.AddrPort // both of one family
}

// Reverse returns the flow of the answers.
func (f Flow) Reverse() Flow { return Flow{Src: f.Dst, Dst: f.Src} }

// UDP returns a UDP packet of the flow with complete checksums and, over IPv4, DF set.
func (f Flow) UDP(payload []byte) []byte {
	segment := make([]byte, 8, 8+len(payload))
	f.ports(segment)
	binary.BigEndian.PutUint16(segment[4:], uint16(8+len(payload)))
	segment = append(segment, payload...)
	sum := f.transportSum(UDP, segment)
	if sum == 0 {
		sum = 0xffff // RFC 768: 0 would mean "no checksum"
	}
	binary.BigEndian.PutUint16(segment[6:], sum)
	return f.ip(UDP, segment)
}

// TCP returns a TCP segment of the flow with the ACK flag, a sequence number and complete checksums.
func (f Flow) TCP(sequence uint32, payload []byte) []byte {
	segment := make([]byte, 20, 20+len(payload))
	f.ports(segment)
	binary.BigEndian.PutUint32(segment[4:], sequence)
	binary.BigEndian.PutUint32(segment[8:], 1)
	segment[12], segment[13] = 5<<4, 0x10
	binary.BigEndian.PutUint16(segment[14:], 0xffff)
	segment = append(segment, payload...)
	binary.BigEndian.PutUint16(segment[16:], f.transportSum(TCP, segment))
	return f.ip(TCP, segment)
}

func (f Flow) ports(segment []byte) {
	binary.BigEndian.PutUint16(segment, f.Src.Port())
	binary.BigEndian.PutUint16(segment[2:], f.Dst.Port())
}

// transportSum returns the checksum of segment, whose checksum field is zero.
func (f Flow) transportSum(protocol uint8, segment []byte) uint16 {
	pseudo := append(f.Src.Addr().AsSlice(), f.Dst.Addr().AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(segment)))
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(protocol))
	return Checksum(append(pseudo, segment...))
}

// ip puts an IP header in front of a transport segment.
func (f Flow) ip(protocol uint8, segment []byte) []byte {
	if f.Src.Addr().Is6() {
		header := make([]byte, 8, 40+len(segment))
		header[0] = 0x60
		binary.BigEndian.PutUint16(header[4:], uint16(len(segment)))
		header[6], header[7] = protocol, 64
		header = append(header, f.Src.Addr().AsSlice()...)
		header = append(header, f.Dst.Addr().AsSlice()...)
		return append(header, segment...)
	}
	header := make([]byte, 12, 20+len(segment))
	header[0] = 0x45
	binary.BigEndian.PutUint16(header[2:], uint16(20+len(segment)))
	binary.BigEndian.PutUint16(header[6:], 0x4000)
	header[8], header[9] = 64, protocol
	header = append(header, f.Src.Addr().AsSlice()...)
	header = append(header, f.Dst.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(header[10:], Checksum(header))
	return append(header, segment...)
}

// Checksum is the Internet checksum as RFC 1071 1 defines it, word by word: the twin that is obviously
// right.
func Checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		sum += word
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// Valid reports whether the checksums of a TCP or UDP packet without IP options or extension headers
// are complete and right.
func Valid(packet []byte) bool {
	if len(packet) < 20 {
		return false
	}
	start, protocol, addresses := 20, packet[9], packet[12:20]
	if packet[0]>>4 == 6 {
		if len(packet) < 40 {
			return false
		}
		start, protocol, addresses = 40, packet[6], packet[8:40]
	} else if Checksum(packet[:20]) != 0 {
		return false
	}
	pseudo := append([]byte(nil), addresses...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(packet)-start))
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(protocol))
	return Checksum(append(pseudo, packet[start:]...)) == 0
}
