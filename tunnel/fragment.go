package tunnel

import "encoding/binary"

// Fragmentable reports whether p may be cut by Fragment: an ordinary IPv4 packet whose sender allows
// it by leaving DF off (RFC 791 2.3). data must be a packet that Inner.Parse accepts.
func Fragmentable(p *Packet) bool {
	return p.GSO.Kind == GSONone && p.Data[0]>>4 == 4 &&
		binary.BigEndian.Uint16(p.Data[ipv4Fragment:])&ipv4DontFragment == 0
}

// Fragment appends to out one Datagram for each IPv4 fragment of p, none larger than mtu bytes, and
// returns the longer slice. It is what a router does between two links: p may be a fragment itself.
// Headers come from the arena, with cut.Reserve bytes free in front, payload is borrowed. p must be
// Fragmentable. On ErrArenaFull and ErrMalformed (mtu leaves no room for eight bytes of payload)
// out comes back unchanged.
func (s *Segmenter) Fragment(out []Datagram, p *Packet, cut Cut, mtu int) ([]Datagram, error) {
	header := int(p.Data[0]&15) * 4
	size := (mtu - header) &^ 7 // fragment offsets count eight bytes
	if size < 8 {
		return out, ErrMalformed
	}
	FinishChecksum(p)
	payload := p.Data[header:]
	count := max(1, (len(payload)+size-1)/size) // a header alone is a packet too
	stride := cut.Reserve + header
	heads := s.take(count * stride)
	if heads == nil {
		return out, ErrArenaFull
	}
	field := binary.BigEndian.Uint16(p.Data[ipv4Fragment:])
	for i := range count {
		head := heads[i*stride : (i+1)*stride : (i+1)*stride]
		chunk := payload[i*size : min((i+1)*size, len(payload))]
		place := field + uint16(i*size/8)
		if i < count-1 {
			place |= ipv4MoreFragments
		}
		ip := head[cut.Reserve:]
		copy(ip, p.Data[:header])
		if i > 0 {
			dropUncopiedOptions(ip[ipv4HeaderLen:])
		}
		binary.BigEndian.PutUint16(ip[ipv4TotalLen:], uint16(header+len(chunk)))
		binary.BigEndian.PutUint16(ip[ipv4Fragment:], place)
		binary.BigEndian.PutUint16(ip[ipv4Checksum:], 0)
		binary.BigEndian.PutUint16(ip[ipv4Checksum:], ^onesSum(ip))
		out = append(out, Datagram{Head: head, Payload: chunk})
	}
	return out, nil
}

const ipv4MoreFragments = 0x2000

// dropUncopiedOptions overwrites with no-operations the options that only the first fragment carries
// (RFC 791 3.1, copied flag), as ip_options_fragment does: the header keeps its length.
func dropUncopiedOptions(options []byte) {
	const (
		end    = 0
		noop   = 1
		copied = 0x80
	)
	for i := 0; i < len(options) && options[i] != end; {
		if options[i] == noop {
			i++
			continue
		}
		if i+1 >= len(options) || options[i+1] < 2 || i+int(options[i+1]) > len(options) {
			return // not ours to mend: the receiver will refuse the header as the first fragment's
		}
		length := int(options[i+1])
		if options[i]&copied == 0 {
			for j := range length {
				options[i+j] = noop
			}
		}
		i += length
	}
}
