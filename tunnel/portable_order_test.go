package tunnel

import (
	"encoding/binary"
	"os"
	"testing"

	"golang.zx2c4.com/wireguard/tun"
)

// A writtenDevice notes how many packets each write brings.
type writtenDevice struct{ writes []int }

func (d *writtenDevice) Write(bufs [][]byte, _ int) (int, error) {
	d.writes = append(d.writes, len(bufs))
	return len(bufs), nil
}

func (d *writtenDevice) BatchSize() int                         { return 128 }
func (d *writtenDevice) Read([][]byte, []int, int) (int, error) { return 0, os.ErrClosed }
func (d *writtenDevice) File() *os.File                         { return nil }
func (d *writtenDevice) MTU() (int, error)                      { return 1500, nil }
func (d *writtenDevice) Name() (string, error)                  { return "weftport0", nil }
func (d *writtenDevice) Events() <-chan tun.Event               { return nil }
func (d *writtenDevice) Close() error                           { return nil }

// TestSmallDatagramDoesNotOvertakeFragments: wireguard-go merges a datagram with an earlier one of its
// flow across the fragments of a large one in between, which then arrives last.
func TestSmallDatagramDoesNotOvertakeFragments(t *testing.T) {
	datagram := func(payload int, fragment uint16) Packet {
		b := make([]byte, 28+payload)
		b[0], b[8], b[9] = 0x45, 64, protocolUDP
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[6:], fragment)
		binary.BigEndian.PutUint16(b[24:], uint16(8+payload))
		return Packet{Data: b}
	}
	whole, empty := datagram(500, 0), datagram(0, 0)
	first, last := datagram(1400, 0x2000), datagram(100, 1408/8)
	withOptions := datagram(500, 0)
	withOptions.Data[0] = 0x46
	for _, test := range []struct {
		name    string
		packets []Packet
		writes  []int
	}{
		{"nothing in between", []Packet{whole, whole, whole}, []int{3}},
		{"fragments", []Packet{whole, first, last, whole, whole}, []int{3, 2}},
		{"fragments again", []Packet{first, last, whole, first, last, whole}, []int{2, 3, 1}},
		{"an empty datagram", []Packet{whole, empty, whole}, []int{2, 1}},
		{"IP options", []Packet{whole, withOptions, whole}, []int{2, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			device := &writtenDevice{}
			q := newPortableQueue(device, "weftport0")
			if n, err := q.WriteBatch(test.packets); n != len(test.packets) || err != nil {
				t.Fatalf("WriteBatch: %d, %v", n, err)
			}
			if len(device.writes) != len(test.writes) {
				t.Fatalf("writes of %v packets, want %v", device.writes, test.writes)
			}
			for i, n := range device.writes {
				if n != test.writes[i] {
					t.Errorf("writes of %v packets, want %v", device.writes, test.writes)
				}
			}
		})
	}
}
