package tunnel

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// The soak found it: over IPv6 a receiver drops the datagram whose checksum comes to zero and is
// left so.
func TestZeroChecksumOverIPv6IsMended(t *testing.T) {
	for _, c := range []struct {
		name   string
		packet testPacket
		want   uint16 // 0: unchanged
	}{
		{"UDP over IPv6 with zero", testPacket{v6: true, udp: true, noSum: true, payload: pattern(9, 1)}, 0xffff},
		{"UDP over IPv6 with a checksum", testPacket{v6: true, udp: true, payload: pattern(9, 1)}, 0},
		{"UDP over IPv4 without one", testPacket{udp: true, noSum: true, payload: pattern(9, 1)}, 0},
		{"TCP over IPv6", testPacket{v6: true, payload: pattern(9, 1)}, 0},
	} {
		p := c.packet.build()
		want := bytes.Clone(p.Data)
		if c.want != 0 {
			binary.BigEndian.PutUint16(want[ipv6HeaderLen+udpChecksum:], c.want)
		}
		if mendZeroChecksum(p.Data); !bytes.Equal(p.Data, want) {
			t.Errorf("%s: got\n% x, want\n% x", c.name, p.Data, want)
		}
	}
}
