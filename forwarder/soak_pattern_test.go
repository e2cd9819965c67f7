package forwarder_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/rand/v2"
)

// A pattern is the payload of one flow: random bytes that repeat after a prime number of them. Any
// byte that is damaged, missing or at another place than it was sent differs from what is
// expected there, unless it moved by a multiple of that prime.
type pattern []byte

const patternLen = 1<<20 + 7 // prime

func newPattern(seed byte) pattern {
	p := make(pattern, patternLen)
	rand.NewChaCha8([32]byte{seed}).Read(p) // never fails
	return p
}

// fill writes the bytes at offset at of the endless pattern.
func (p pattern) fill(b []byte, at uint64) {
	for len(b) > 0 {
		n := copy(b, p[at%patternLen:])
		b, at = b[n:], at+uint64(n)
	}
}

// matches reports whether b is what fill writes.
func (p pattern) matches(b []byte, at uint64) bool {
	for len(b) > 0 {
		rest := p[at%patternLen:]
		n := min(len(b), len(rest))
		if !bytes.Equal(b[:n], rest[:n]) {
			return false
		}
		b, at = b[n:], at+uint64(n)
	}
	return true
}

// A message is what one datagram or echo carries: its number, a checksum of that, and bytes of the
// pattern that the number chooses. The number chooses the length too, so that a message that was cut,
// padded or joined with another isn't taken for a good one. What is shorter than the header is
// pattern alone, and only checked for being that.
const (
	messageHeader = 8 + 4
	messageMax    = 65507 // 65,535 less IPv4 and UDP or ICMP headers
)

// messageLen returns the length of message n: 1 to longest, evenly spread over the orders of magnitude,
// with the extremes among them.
func messageLen(n uint64, longest int) int {
	switch n % 64 {
	case 0:
		return 1
	case 32:
		return longest
	}
	u := float64(scramble(n)>>11) / (1 << 53)
	return int(math.Pow(float64(longest), u))
}

// putMessage writes message n of a flow into b, which has room for its longest, and returns it.
func (p pattern) putMessage(b []byte, n uint64, longest int) []byte {
	b = b[:messageLen(n, longest)]
	p.fill(b, scramble(n)%patternLen)
	if len(b) < messageHeader {
		p.fill(b, 0)
		return b
	}
	binary.BigEndian.PutUint64(b, n)
	binary.BigEndian.PutUint32(b[8:], crc32.Checksum(b[:8], castagnoli))
	return b
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// readMessage checks a message. numbered is false for those too short to carry their number.
func (p pattern) readMessage(b []byte, longest int) (n uint64, numbered, ok bool) {
	if len(b) < messageHeader {
		return 0, false, p.matches(b, 0)
	}
	n = binary.BigEndian.Uint64(b)
	ok = binary.BigEndian.Uint32(b[8:]) == crc32.Checksum(b[:8], castagnoli) && len(b) == messageLen(n, longest) &&
		p.matches(b[messageHeader:], scramble(n)%patternLen+messageHeader)
	return n, true, ok
}

// scramble spreads numbers over all of 64 bits (the finalizer of splitmix64).
func scramble(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}
