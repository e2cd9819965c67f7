package tunnel

import (
	"encoding/binary"
	"math/bits"
)

// Checksums here are sums in the sense of RFC 1071: 16-bit big-endian words added with end-around
// carry. Sums are kept as plain numbers, folded to 16 bits only where a header wants them, because
// the carries of a few dozen words fit a uint64 many times over.

// onesSum returns the folded ones' complement sum of b, read as big-endian 16-bit words; an odd last
// byte counts as the high half of a word. The result is not inverted, and two parts may be added
// when the first has an even length.
//
// The sum of words is the same in either byte order up to a swap of its result (RFC 1071, 2B), so
// the loop adds little-endian 64-bit words in one carry chain: eight bytes an instruction.
func onesSum(b []byte) uint16 {
	var sum, carry uint64
	for len(b) >= 64 {
		w := b[:64:64]
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[0:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[8:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[16:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[24:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[32:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[40:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[48:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[56:]), carry)
		b = b[64:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), carry)
		b = b[8:]
	}
	// The tail is less than eight bytes: padded with zeros it is one more word.
	var tail uint64
	for i, v := range b {
		tail |= uint64(v) << (8 * i)
	}
	sum, carry = bits.Add64(sum, tail, carry)
	sum, carry = bits.Add64(sum, 0, carry)
	return bits.ReverseBytes16(fold(sum>>32 + sum&0xffffffff + carry))
}

// fold brings a sum of 16-bit words down to 16 bits, carries going around.
func fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum&0xffff)
}

// pseudoSum returns the unfolded sum of the pseudo header (RFC 9293 3.1, RFC 8200 8.1) of the packet
// in data without its length: addresses and protocol. v6 tells the family, since ours are the only
// bytes that differ between the two.
func pseudoSum(data []byte, v6 bool, protocol uint8) uint64 {
	if v6 {
		return uint64(onesSum(data[8:40])) + uint64(protocol)
	}
	return uint64(onesSum(data[12:20])) + uint64(protocol)
}

// FinishChecksum completes the transport checksum of an ordinary packet whose PartialChecksum is
// set, in place, and clears the mark. It does nothing to a packet that is complete. A superpacket
// is finished by segmenting it. The offsets must lie inside Data, as a Queue and Superpacket
// make sure of.
func FinishChecksum(p *Packet) {
	if !p.GSO.PartialChecksum || p.GSO.Kind != GSONone {
		return
	}
	start := int(p.GSO.ChecksumStart)
	field := p.Data[start+int(p.GSO.ChecksumOffset):]
	sum := ^onesSum(p.Data[start:])
	// Zero means "none" in a UDP header (RFC 768); the other zero of ones' complement means zero,
	// and any receiver takes it for TCP as well.
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(field, sum)
	p.GSO.PartialChecksum, p.GSO.ChecksumStart, p.GSO.ChecksumOffset = false, 0, 0
}
