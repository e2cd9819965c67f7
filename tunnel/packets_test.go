package tunnel

import (
	"bytes"
	"encoding/binary"
)

// testPacket describes a packet to build; the zero value is an IPv4 TCP segment without payload.
type testPacket struct {
	v6       bool
	udp      bool
	tos, ttl uint8
	id       uint16
	df       bool
	fragment uint16 // offset and more-fragments bit
	ipOption bool
	src      uint16 // source port, 0 for 1000
	seq, ack uint32
	flags    byte // TCP flags beside ACK
	window   uint16
	options  []byte
	payload  []byte
	partial  bool // leave the checksum as CHECKSUM_PARTIAL does
	badSum   bool
	noSum    bool // UDP without checksum
}

// build returns the packet, its checksums computed the slow way.
func (t testPacket) build() Packet {
	transport := t.transport()
	var data []byte
	if t.v6 {
		data = make([]byte, ipv6HeaderLen, ipv6HeaderLen+len(transport))
		binary.BigEndian.PutUint32(data, 6<<28|uint32(t.tos)<<20|0x12345)
		binary.BigEndian.PutUint16(data[ipv6Length:], uint16(len(transport)))
		data[ipv6Next], data[7] = transportProtocol(t.udp), 64+t.ttl
		copy(data[8:], bytes.Repeat([]byte{0xfd}, 16))
		copy(data[24:], bytes.Repeat([]byte{0xfe}, 16))
	} else {
		data = t.ipv4(len(transport))
	}
	ip := len(data)
	data = append(data, transport...)
	p := Packet{Data: data}
	t.checksum(&p, ip)
	return p
}

func (t testPacket) ipv4(transport int) []byte {
	data := make([]byte, ipv4HeaderLen)
	data[0], data[1] = 0x45, t.tos
	if t.ipOption {
		data[0] = 0x46
		data = append(data, 1, 1, 1, 1)
	}
	binary.BigEndian.PutUint16(data[ipv4TotalLen:], uint16(len(data)+transport))
	binary.BigEndian.PutUint16(data[ipv4ID:], t.id)
	fragment := t.fragment
	if t.df {
		fragment |= ipv4DontFragment
	}
	binary.BigEndian.PutUint16(data[ipv4Fragment:], fragment)
	data[ipv4TTL], data[ipv4Protocol] = 64+t.ttl, transportProtocol(t.udp)
	copy(data[12:], []byte{10, 1, 0, 1, 10, 2, 0, 1})
	binary.BigEndian.PutUint16(data[ipv4Checksum:], naiveSum(data))
	return data
}

func (t testPacket) transport() []byte {
	src := t.src
	if src == 0 {
		src = 1000
	}
	b := binary.BigEndian.AppendUint16(nil, src)
	b = binary.BigEndian.AppendUint16(b, 2000)
	if t.udp {
		b = binary.BigEndian.AppendUint16(b, uint16(udpHeaderLen+len(t.payload)))
		b = append(b, 0, 0)
		return append(b, t.payload...)
	}
	b = binary.BigEndian.AppendUint32(b, t.seq)
	b = binary.BigEndian.AppendUint32(b, t.ack)
	b = append(b, byte((tcpHeaderLen+len(t.options))/4)<<4, 0x10|t.flags)
	b = binary.BigEndian.AppendUint16(b, t.window)
	b = append(b, 0, 0, 0, 0)
	b = append(b, t.options...)
	return append(b, t.payload...)
}

func (t testPacket) checksum(p *Packet, ip int) {
	offset := int(checksumField(transportProtocol(t.udp)))
	field := p.Data[ip+offset:]
	pseudo := naivePseudo(p.Data, ip, transportProtocol(t.udp))
	switch {
	case t.noSum && t.udp:
		return
	case t.partial:
		p.GSO.PartialChecksum = true
		p.GSO.ChecksumStart, p.GSO.ChecksumOffset = uint16(ip), uint16(offset)
		binary.BigEndian.PutUint16(field, ^naiveSum(pseudo))
		return
	}
	sum := naiveSum(append(pseudo, p.Data[ip:]...))
	if t.badSum {
		sum ^= 0x1111
	}
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(field, sum)
}

func transportProtocol(udp bool) uint8 {
	if udp {
		return protocolUDP
	}
	return protocolTCP
}

// naiveSum is the checksum of RFC 1071 as its text has it: word by word, carries at the end.
func naiveSum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		sum += word
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// naivePseudo returns the pseudo header of the packet as bytes.
func naivePseudo(data []byte, ip int, protocol uint8) []byte {
	var b []byte
	if data[0]>>4 == 6 {
		b = append(b, data[8:40]...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(data)-ip))
		return append(b, 0, 0, 0, protocol)
	}
	b = append(b, data[12:20]...)
	b = append(b, 0, protocol)
	return binary.BigEndian.AppendUint16(b, uint16(len(data)-ip))
}

// pattern returns n bytes that differ from their neighbours and from other seeds'.
func pattern(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + seed*13 + i>>8)
	}
	return b
}
