package tunnel

import (
	"encoding/binary"
	"errors"
)

// Errors of Segmenter.Append.
var (
	// ErrArenaFull asks the caller to send what it has, Reset, and append the same packet again. A
	// packet for which it comes back on an empty Segmenter has segments too small to carry.
	ErrArenaFull = errors.New("segmenting packet: header arena is full")
	// ErrMalformed means that GSO metadata and packet contradict each other.
	ErrMalformed = errors.New("segmenting packet: GSO metadata does not fit the packet")
)

// arenaBytes holds the headers of one batch: 512 KB of payload in 1,400-byte segments need 32 KB,
// one superpacket in the smallest segments Linux makes (48 bytes, TCP_MIN_SND_MSS) about 130 KB.
const arenaBytes = 256 << 10

// A Segmenter turns packets into datagrams. For a superpacket it writes the headers of all segments
// next to each other into its arena and borrows the payload where it lies, so that no payload byte
// is copied:
//
//	Data    [headers][payload 1 ········][payload 2 ········][payload 3 ···]
//	arena   [reserve|headers 1][reserve|headers 2][reserve|headers 3]
//	out     {Head: headers 1, Payload: payload 1}, {headers 2, payload 2}, …
//
// One goroutine uses it at a time. What Append returns is valid until Reset, and no longer than the
// Data it was given.
type Segmenter struct {
	arena []byte
	used  int
}

// NewSegmenter returns a Segmenter with an empty arena of 256 KB; only what is used becomes resident.
func NewSegmenter() *Segmenter { return &Segmenter{arena: make([]byte, arenaBytes)} }

// Reset forgets every head handed out, for the next batch.
func (s *Segmenter) Reset() { s.used = 0 }

// Cut says how Append shapes the datagrams of one packet.
type Cut struct {
	// Reserve is the number of bytes to leave free at the start of every Head for the encapsulation
	// header that the caller writes there: 0 headerless, 12 GUE with remote checksum, 22 VXLAN.
	Reserve int
	// Limit is the largest segment in bytes, IP header included, where that is less than what the
	// superpacket asks for; 0: none. It holds for TCP, which is a row of bytes and may be cut anywhere;
	// a UDP superpacket's borders are its datagrams'.
	Limit int
	// LeavePartial leaves a partial transport checksum partial, for a peer that finishes it or
	// passes it on (remote checksum offload). Otherwise it is completed, in one pass over the payload.
	LeavePartial bool
}

// Append appends one Datagram to out for each segment of p, in order, and returns the longer slice.
// Addr is left for the caller to set. An ordinary packet becomes one Datagram with all of Data as its
// Payload, its checksum completed in place unless cut says otherwise. Headers follow
// net/ipv4/tcp_offload.c: IPv4 IDs count up, FIN and PSH stay on the last segment only, CWR on the first.
// On ErrArenaFull and ErrMalformed out comes back unchanged.
func (s *Segmenter) Append(out []Datagram, p *Packet, cut Cut) ([]Datagram, error) {
	if p.GSO.Kind == GSONone {
		head := s.take(cut.Reserve)
		if head == nil && cut.Reserve > 0 {
			return out, ErrArenaFull
		}
		if !cut.LeavePartial {
			FinishChecksum(p)
		}
		return append(out, Datagram{Head: head, Payload: p.Data}), nil
	}
	t, ok := templateOf(p, cut)
	if !ok {
		return out, ErrMalformed
	}
	payload, size := p.Data[t.headers:], int(t.size)
	count := (len(payload) + size - 1) / size
	stride := cut.Reserve + t.headers
	heads := s.take(count * stride)
	if heads == nil {
		return out, ErrArenaFull
	}
	for i := range count {
		chunk := payload[:min(size, len(payload))]
		payload = payload[len(chunk):]
		head := heads[i*stride : (i+1)*stride : (i+1)*stride]
		t.write(head[cut.Reserve:], chunk, place{index: i, first: i == 0, last: i == count-1})
		out = append(out, Datagram{Head: head, Payload: chunk})
	}
	return out, nil
}

// take returns the next n bytes of the arena, or nil when they aren't there or n is 0.
func (s *Segmenter) take(n int) []byte {
	if n == 0 || n > len(s.arena)-s.used {
		return nil
	}
	b := s.arena[s.used : s.used+n : s.used+n]
	s.used += n
	return b
}

// A template is the headers of a superpacket with everything worked out that its segments share.
type template struct {
	header    []byte // IP and transport header of the superpacket
	headers   int    // len(header)
	transport int    // where the transport header starts
	size      uint32 // payload bytes of every segment but the last
	tcp, v6   bool
	partial   bool // leave the checksum partial
	unsummed  bool // UDP without a checksum: leave it so

	ipSum     uint64 // IPv4 header without total length, ID and checksum
	pseudo    uint64 // pseudo header without its length
	transSum  uint64 // transport header without sequence, flags, length and checksum
	id        uint16 // IPv4 ID of the first segment
	sequence  uint32 // TCP sequence number of the first segment
	flagsWord uint16 // data offset and flags, as one 16-bit word
}

// templateOf checks the metadata of p and prepares its segments.
func templateOf(p *Packet, cut Cut) (t template, ok bool) {
	g := p.GSO
	if int(g.HeaderLen) > len(p.Data) || !g.locate(p.Data) || int(g.HeaderLen) >= len(p.Data) {
		return t, false
	}
	t = template{
		header: p.Data[:g.HeaderLen], headers: int(g.HeaderLen), transport: int(g.ChecksumStart),
		size: uint32(g.SegmentSize), tcp: g.Kind != GSOUDP, v6: p.Data[0]>>4 == 6,
		partial: cut.LeavePartial && g.PartialChecksum,
	}
	if over := t.headers + int(t.size) - cut.Limit; cut.Limit > 0 && t.tcp && over > 0 {
		if over >= int(t.size) {
			return t, false // no room for a single byte
		}
		t.size -= uint32(over)
	}
	th := t.header[t.transport:]
	field := binary.BigEndian.Uint16(th[g.ChecksumOffset:])
	t.pseudo = pseudoSum(p.Data, t.v6, g.Kind.protocol())
	if t.v6 && t.transport != ipv6HeaderLen {
		// Behind extension headers the final destination may not be the one in front (routing
		// header); the kernel's own pseudo sum knows, it only counts the superpacket's length.
		t.pseudo = uint64(field) + uint64(^fold(uint64(len(p.Data)-t.transport)))
	}
	without := []byte(nil)
	if t.tcp {
		t.sequence = binary.BigEndian.Uint32(th[tcpSequence:])
		t.flagsWord = binary.BigEndian.Uint16(th[tcpDataOffset:])
		without = th[tcpSequence : tcpSequence+4]
	} else {
		t.unsummed = field == 0 && !g.PartialChecksum
		without = th[udpLength : udpLength+2]
	}
	t.transSum = uint64(onesSum(th)) + uint64(^onesSum(without)) + uint64(^field)
	if t.tcp {
		t.transSum += uint64(^t.flagsWord)
	}
	if !t.v6 {
		t.id = binary.BigEndian.Uint16(t.header[ipv4ID:])
		t.ipSum = uint64(onesSum(t.header[:t.transport])) + uint64(^onesSum(t.header[ipv4TotalLen:ipv4Fragment])) +
			uint64(^binary.BigEndian.Uint16(t.header[ipv4Checksum:]))
	}
	return t, true
}

// place says which of the segments one is.
type place struct {
	index       int
	first, last bool
}

// write fills head with the headers of one segment that carries chunk.
func (t *template) write(head, chunk []byte, at place) {
	copy(head, t.header)
	length := len(head) + len(chunk)
	if t.v6 {
		binary.BigEndian.PutUint16(head[ipv6Length:], uint16(length-ipv6HeaderLen))
	} else {
		id := t.id + uint16(at.index)
		binary.BigEndian.PutUint16(head[ipv4TotalLen:], uint16(length))
		binary.BigEndian.PutUint16(head[ipv4ID:], id)
		binary.BigEndian.PutUint16(head[ipv4Checksum:], ^fold(t.ipSum+uint64(length)+uint64(id)))
	}
	th, transportLen := head[t.transport:], uint64(length-t.transport)
	varying, field := uint64(0), th[udpChecksum:]
	if t.tcp {
		varying, field = t.writeTCP(th, at), th[tcpChecksum:]
	} else {
		// The length counts twice, in the pseudo header and in the UDP header.
		binary.BigEndian.PutUint16(th[udpLength:], uint16(transportLen))
		varying = transportLen
	}
	if t.unsummed {
		return
	}
	sum := fold(t.pseudo + transportLen)
	if !t.partial {
		// Of the two zeros the one that doesn't mean "none" to UDP, as in FinishChecksum.
		if sum = ^fold(t.pseudo + transportLen + t.transSum + varying + uint64(onesSum(chunk))); sum == 0 {
			sum = 0xffff
		}
	}
	binary.BigEndian.PutUint16(field, sum)
}

// writeTCP sets what differs between the TCP headers of segments and returns the sum of those words.
func (t *template) writeTCP(th []byte, at place) (sum uint64) {
	sequence := t.sequence + uint32(at.index)*t.size
	flags := t.flagsWord
	if !at.first {
		flags &^= tcpCWR
	}
	if !at.last {
		flags &^= tcpFIN | tcpPSH
	}
	binary.BigEndian.PutUint32(th[tcpSequence:], sequence)
	binary.BigEndian.PutUint16(th[tcpDataOffset:], flags)
	return uint64(sequence>>16) + uint64(sequence&0xffff) + uint64(flags)
}
