package tunnel_test

import (
	"encoding/binary"
	"testing"

	"weft/tunnel"
)

// TestManySmallDatagramsComeInOneBatch: what a wire has cut up comes together again, and a large datagram behind it
// finds room for all its bytes in every buffer.
func TestManySmallDatagramsComeInOneBatch(t *testing.T) {
	from, to := listenFast(t, addrLoopback, tunnel.Modes{}), listenFast(t, addrLoopback, tunnel.Modes{GRO: tunnel.Off})
	sent, received, largest := 0, 0, 0
	in := make([]tunnel.Datagram, 64)
	exchange := func(sizes ...int) {
		t.Helper()
		for _, size := range sizes {
			payload := make([]byte, size)
			binary.BigEndian.PutUint32(payload, uint32(sent))
			payload[size-1] = byte(sent)
			out := []tunnel.Datagram{{Addr: to.LocalAddr(), Payload: payload}}
			if _, err := from.WriteBatch(out); err != nil || out[0].Errno != 0 {
				t.Fatalf("sending: %v, %v", err, out[0].Errno)
			}
			sent++
		}
		for received < sent {
			n, err := to.ReadBatch(in)
			if err != nil {
				t.Fatal(err)
			}
			largest = max(largest, n)
			for _, d := range in[:n] {
				size := sizes[len(sizes)-(sent-received)]
				if len(d.Payload) != size || binary.BigEndian.Uint32(d.Payload) != uint32(received) || d.Payload[size-1] != byte(received) {
					t.Fatalf("datagram %d: got %d bytes that begin with %x, want %d", received, len(d.Payload), d.Payload[:4], size)
				}
				received++
			}
		}
	}
	small := make([]int, 120)
	for i := range small {
		small[i] = 100
	}
	exchange(small...)
	if largest <= 16 {
		t.Errorf("%d datagrams at most in a batch, with 120 waiting", largest)
	}
	// Where 64 are asked for by now, one superpacket in a far buffer.
	exchange(append(small[:40:40], 65000, 100)...)
	exchange(60000, 60000, 100)
}
