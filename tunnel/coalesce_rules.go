package tunnel

import (
	"encoding/binary"
	"math/bits"
)

// A flow is a superpacket that may still grow.
type flow struct {
	key     flowKey
	write   int    // index into coalescer.writes
	first   []byte // Data of the first packet: what the others must agree with
	h       headers
	size    int  // payload bytes of every segment but the last
	bytes   int  // length of the superpacket so far
	count   int  // segments so far
	partial bool // all transport checksums partial, else all complete
	checked bool // base (TCP) is computed, or the first checksum (UDP) verified

	sequence uint32 // TCP sequence number that continues the flow
	id       uint16 // IPv4 ID that continues the flow
	closing  byte   // FIN and PSH of the last segment

	base    uint64 // pseudo and TCP header without what differs between segments
	payload uint64 // sum of all payload, out of the segments' checksums
}

// mayOpen reports whether further packets could be appended to p: it carries payload, nothing in it
// asks for immediate delivery or is told apart by position, and the device takes its kind.
func (c *coalescer) mayOpen(p *Packet, h headers) bool {
	if p.GSO.Kind != GSONone || len(p.Data) == h.all || !h.v6 && h.ip != ipv4HeaderLen {
		return false
	}
	if p.GSO.PartialChecksum && (int(p.GSO.ChecksumStart) != h.ip || p.GSO.ChecksumOffset != checksumField(h.protocol)) {
		return false
	}
	if h.protocol == protocolUDP {
		return c.limits.udp && udpWhole(p, h)
	}
	return c.limits.tcp && p.Data[h.ip+tcpFlags]&(tcpFIN|tcpSYN|tcpRST|tcpPSH|tcpURG|tcpCWR) == 0
}

// udpWhole reports whether the UDP length is the packet's and a checksum is there: the kernel makes
// segments whose UDP header says so, whatever the original said.
func udpWhole(p *Packet, h headers) bool {
	th := p.Data[h.ip:]
	return int(binary.BigEndian.Uint16(th[udpLength:])) == len(th) && binary.BigEndian.Uint16(th[udpChecksum:]) != 0
}

// start makes f the flow whose first packet is p.
func (f *flow) start(key flowKey, write int, p *Packet, h headers) {
	*f = flow{
		key: key, write: write, first: p.Data, h: h, size: len(p.Data) - h.all, bytes: len(p.Data), count: 1,
		partial: p.GSO.PartialChecksum,
	}
	if !h.v6 {
		f.id = binary.BigEndian.Uint16(p.Data[ipv4ID:]) + 1
	}
	if h.protocol == protocolTCP {
		f.sequence = binary.BigEndian.Uint32(p.Data[h.ip+tcpSequence:]) + uint32(f.size)
	}
}

// takes reports whether p continues f. Each rule is one of kernel GRO's.
func (f *flow) takes(c *coalescer, p *Packet, h headers) bool {
	n := len(p.Data) - h.all
	if p.GSO.Kind != GSONone || p.GSO.PartialChecksum != f.partial || h != f.h {
		return false
	}
	// An empty segment (a bare ACK) says something of its own; a longer one can't be cut back out.
	if n == 0 || n > f.size || f.bytes+n > 65535 {
		return false
	}
	if n < f.size && c.limits.longTail && n <= int(checksumField(h.protocol))+2 {
		return false
	}
	if !f.sameIP(p.Data) {
		return false
	}
	if h.protocol == protocolUDP {
		return udpWhole(p, h) && (f.partial || f.verified() && checksumRight(p.Data, h))
	}
	return f.sameTCP(p.Data)
}

// sameIP compares what GRO does in IP headers: TOS and TTL, DF and consecutive IDs; traffic class,
// flow label and hop limit. With DF set the ID means nothing (RFC 6864) and may be anything.
func (f *flow) sameIP(data []byte) bool {
	if f.h.v6 {
		return binary.NativeEndian.Uint32(data) == binary.NativeEndian.Uint32(f.first) && data[7] == f.first[7]
	}
	fragment := binary.BigEndian.Uint16(data[ipv4Fragment:])
	return data[1] == f.first[1] && data[ipv4TTL] == f.first[ipv4TTL] &&
		fragment == binary.BigEndian.Uint16(f.first[ipv4Fragment:]) &&
		(fragment&ipv4DontFragment != 0 || binary.BigEndian.Uint16(data[ipv4ID:]) == f.id)
}

// sameTCP compares sequence, acknowledgement, window, flags but FIN and PSH, and options. A CWR may
// only stand at the front of a superpacket, and mayOpen keeps it out of that too.
func (f *flow) sameTCP(data []byte) bool {
	th, first := data[f.h.ip:f.h.all], f.first[f.h.ip:f.h.all]
	const may = tcpFIN | tcpPSH // bits that may differ, in the second byte of offset, flags, window
	word := binary.BigEndian.Uint32(th[tcpDataOffset:]) ^ binary.BigEndian.Uint32(first[tcpDataOffset:])
	if word&^(may<<16) != 0 || binary.BigEndian.Uint32(th[tcpSequence:]) != f.sequence ||
		binary.NativeEndian.Uint32(th[tcpAck:]) != binary.NativeEndian.Uint32(first[tcpAck:]) {
		return false
	}
	return string(th[tcpHeaderLen:]) == string(first[tcpHeaderLen:])
}

// verified reports whether the first packet's UDP checksum is right, looking once. The kernel takes
// UDP superpackets with partial checksums only, so a wrong one would be made right on the way: each
// is verified before it is given up.
func (f *flow) verified() bool {
	if !f.checked && f.count == 1 {
		f.checked = checksumRight(f.first, f.h)
	}
	return f.checked
}

// checksumRight verifies a complete transport checksum over the whole packet.
func checksumRight(data []byte, h headers) bool {
	sum := pseudoSum(data, h.v6, h.protocol) + uint64(len(data)-h.ip) + uint64(onesSum(data[h.ip:]))
	return fold(sum) == 0xffff
}

// append adds packet i to the flow's write and reports whether nothing can follow it.
func (f *flow) append(c *coalescer, i int32, p *Packet) (full bool) {
	w := &c.writes[f.write]
	c.next[w.last], c.next[i] = i, -1
	w.last = i
	w.count++
	n := len(p.Data) - f.h.all
	tcp := f.h.protocol == protocolTCP
	if tcp && !f.partial {
		f.addPayloadSum(p.Data)
	}
	f.count++
	f.bytes += n
	f.id++
	f.sequence += uint32(n)
	limit := c.limits.udpSegments
	if tcp {
		limit = tcpSegments
		f.closing = p.Data[f.h.ip+tcpFlags] & (tcpFIN | tcpPSH)
	}
	return n < f.size || f.closing != 0 || f.count >= limit
}

// addPayloadSum adds the sum of a segment's payload, without reading the payload: its checksum field
// is the complement of pseudo header + TCP header + payload, and the headers are known. The first
// packet's is added along with the second's.
func (f *flow) addPayloadSum(data []byte) {
	if !f.checked {
		f.checked = true
		th := f.first[f.h.ip:f.h.all]
		f.base = pseudoSum(f.first, f.h.v6, protocolTCP) + uint64(onesSum(th)) + uint64(^varyingSum(th))
		f.payload = f.payloadSum(f.first)
	}
	sum := f.payloadSum(data)
	if (f.bytes-f.h.all)&1 != 0 {
		// The payload so far has an odd length: this one's words straddle the superpacket's.
		sum = uint64(bits.ReverseBytes16(fold(sum)))
	}
	f.payload += sum
}

// payloadSum works out the sum of one segment's payload.
func (f *flow) payloadSum(data []byte) uint64 {
	th := data[f.h.ip:f.h.all]
	field := binary.BigEndian.Uint16(th[tcpChecksum:])
	known := f.base + uint64(len(data)-f.h.ip) + uint64(varyingSum(th)) + uint64(^field)
	return uint64(^field) + uint64(^fold(known))
}

// varyingSum is the sum of the words of a TCP header that differ between segments: sequence, offset
// and flags, checksum.
func varyingSum(th []byte) uint16 {
	return fold(uint64(binary.BigEndian.Uint16(th[tcpSequence:])) + uint64(binary.BigEndian.Uint16(th[tcpSequence+2:])) +
		uint64(binary.BigEndian.Uint16(th[tcpDataOffset:])) + uint64(binary.BigEndian.Uint16(th[tcpChecksum:])))
}
