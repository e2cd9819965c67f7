package tunnel

import (
	"encoding/binary"
	"hash/crc32"
)

// An Echo is a control message between two weft hosts: one datagram that a peer is asked to answer, to find
// out whether datagrams of a kind arrive whole. Its bytes are those of a GUE control message, and no
// frame of VXLAN's (whose flag I is not set), so that it fits the sockets of both formats:
//
//	 0                   1                   2                   3
//	|0 0|1|  Hlen 0 | ctype 255     |            flags 0            |   GUE variant 0 with the C bit
//	|              "weft"                                           |
//	| kind: 1 asks, |     place     | length of the whole datagram  |   an answer: always EchoLen
//	|       2 answers
//	|                             token                             |   64 bits at random, an answer's
//	|                                                               |   are those of what it answers
//	|  CRC-32C of the whole datagram, these four bytes taken as 0   |
//	|  filler: byte i is place + i, modulo 256                    ...
//
// Answers are never longer than what they answer, so that nobody gains by asking in another's name.
type Echo struct {
	Answer bool
	Place  uint8  // which of the datagrams with one token this is
	Token  uint64 // made up by who asks
}

// EchoLen is the bytes of an Echo without filler, and of every answer.
const EchoLen = 24

const (
	echoType  = 255 // the last control type: draft-ietf-intarea-gue leaves those that it doesn't name open
	echoMagic = "weft"

	echoAsks    = 1
	echoAnswers = 2

	echoMagicAt, echoKindAt, echoPlaceAt, echoLengthAt, echoTokenAt, echoSumAt = 4, 8, 9, 10, 12, 20
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	noSum      [4]byte
)

// IsEcho reports whether a datagram can only be an Echo, whole or not.
func IsEcho(data []byte) bool {
	return len(data) >= gueBaseLen+len(echoMagic) && data[0] == gueControl && data[1] == echoType &&
		string(data[echoMagicAt:][:len(echoMagic)]) == echoMagic
}

// AppendEcho appends an Echo of size bytes in all, EchoLen to 65,507, to b.
func AppendEcho(b []byte, e Echo, size int) []byte {
	start := len(b)
	b = append(b, gueControl, echoType, 0, 0)
	b = append(b, echoMagic...)
	kind := byte(echoAsks)
	if e.Answer {
		kind = echoAnswers
	}
	b = append(b, kind, e.Place)
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	b = binary.BigEndian.AppendUint64(b, e.Token)
	b = append(b, noSum[:]...)
	for i := EchoLen; i < size; i++ {
		b = append(b, e.Place+byte(i))
	}
	binary.BigEndian.PutUint32(b[start+echoSumAt:], echoSum(b[start:]))
	return b
}

// ParseEcho reads an Echo. ok is false for one that isn't whole to the last byte.
func ParseEcho(data []byte) (e Echo, ok bool) {
	if !IsEcho(data) || len(data) < EchoLen || data[2] != 0 || data[3] != 0 {
		return e, false
	}
	switch data[echoKindAt] {
	case echoAsks:
	case echoAnswers:
		e.Answer = true
	default:
		return e, false
	}
	e.Place, e.Token = data[echoPlaceAt], binary.BigEndian.Uint64(data[echoTokenAt:])
	return e, int(binary.BigEndian.Uint16(data[echoLengthAt:])) == len(data) &&
		(!e.Answer || len(data) == EchoLen) && binary.BigEndian.Uint32(data[echoSumAt:]) == echoSum(data)
}

func echoSum(data []byte) uint32 {
	sum := crc32.Update(0, castagnoli, data[:echoSumAt])
	sum = crc32.Update(sum, castagnoli, noSum[:])
	return crc32.Update(sum, castagnoli, data[EchoLen:])
}
