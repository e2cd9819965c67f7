package tunneltest

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"weft/tunnel"
)

// A Kernel is the other side of a Queue: what the network stack does with a TUN device.
type Kernel interface {
	// Send routes packets to the device, so that the queue reads them.
	Send(packets ...tunnel.Packet)
	// Receive waits for the next packet that the queue wrote, which may be several coalesced ones.
	Receive(t testing.TB) tunnel.Packet
}

// TestQueue runs what every tunnel.Queue must do. open returns a queue and its kernel side, new for
// every test, and sees to their end.
func TestQueue(t *testing.T, open func(t *testing.T) (tunnel.Queue, Kernel)) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, q tunnel.Queue, k Kernel)
	}{
		{"reads what the kernel routes to it", testQueueReads},
		{"hands out a batch piece by piece", testQueuePieces},
		{"writes packets of both families", testQueueWrites},
		{"writes a stream that arrives whole and in order", testQueueStream},
		{"writes superpackets", testQueueSuperpacket},
		{"finishes partial checksums", testQueuePartial},
		{"close unblocks a waiting read", testQueueCloseUnblocks},
		{"stays closed", testQueueClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			q, k := open(t)
			test.run(t, q, k)
		})
	}
}

// Flows between addresses that the tests' devices route; ports keep apart what tests send.
var (
	flow4 = Flow{Src: netip.MustParseAddrPort("10.77.1.1:1111"), Dst: netip.MustParseAddrPort("10.77.2.2:2222")}
	flow6 = Flow{Src: netip.MustParseAddrPort("[fd77:1::1]:1111"), Dst: netip.MustParseAddrPort("[fd77:2::2]:2222")}
)

func message(i int) []byte {
	return fmt.Appendf(nil, "message %03d %s", i, bytes.Repeat([]byte{'.'}, i%50))
}

func testQueueReads(t *testing.T, q tunnel.Queue, k Kernel) {
	var want [][]byte
	for i := range 20 {
		want = append(want, flow4.UDP(message(i)), flow6.UDP(message(i)))
	}
	for _, p := range want {
		k.Send(tunnel.Packet{Data: slices.Clone(p)})
	}
	got := readPackets(t, q, 64, len(want))
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("packet %d: got\n%x, want\n%x", i, got[i], want[i])
		}
	}
}

func testQueuePieces(t *testing.T, q tunnel.Queue, k Kernel) {
	for i := range 10 {
		k.Send(tunnel.Packet{Data: flow4.UDP(message(i))})
	}
	for i, got := range readPackets(t, q, 1, 10) {
		if want := flow4.UDP(message(i)); !bytes.Equal(got, want) {
			t.Fatalf("packet %d: got\n%x, want\n%x", i, got, want)
		}
	}
}

func testQueueWrites(t *testing.T, q tunnel.Queue, k Kernel) {
	// Of lengths that no coalescing rule joins: each longer than the one before.
	for i := range 10 {
		for _, flow := range []Flow{flow4, flow6} {
			want := flow.UDP(bytes.Repeat([]byte{byte(i)}, 10+i))
			write(t, q, tunnel.Packet{Data: slices.Clone(want)})
			if got := k.Receive(t); !bytes.Equal(got.Data, want) {
				t.Fatalf("packet %d: got\n%x, want\n%x", i, got.Data, want)
			}
		}
	}
}

// testQueueStream writes the segments of a TCP stream in batches. Whatever was coalesced, the kernel
// side must see the bytes of the stream.
func testQueueStream(t *testing.T, q tunnel.Queue, k Kernel) {
	for _, flow := range []Flow{flow4, flow6} {
		var want []byte
		var batch []tunnel.Packet
		for i := range 100 {
			chunk := bytes.Repeat([]byte{byte(i)}, 1000)
			batch = append(batch, tunnel.Packet{Data: flow.TCP(uint32(len(want)), chunk)})
			want = append(want, chunk...)
		}
		for part := range slices.Chunk(batch, 30) {
			write(t, q, part...)
		}
		var got []byte
		for len(got) < len(want) {
			p := k.Receive(t)
			got = append(got, p.Data[len(flow.TCP(0, nil)):]...)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("stream of %d bytes arrived as another of %d", len(want), len(got))
		}
	}
}

// testQueueSuperpacket writes a superpacket; it may arrive whole or in segments.
func testQueueSuperpacket(t *testing.T, q tunnel.Queue, k Kernel) {
	payload := make([]byte, 20_000)
	for i := range payload {
		payload[i] = byte(i >> 3)
	}
	write(t, q, Superpacket(flow4, 7, payload, 1360))
	for got := []byte(nil); len(got) < len(payload); {
		p := k.Receive(t)
		part := p.Data[40:]
		if !bytes.HasPrefix(payload[len(got):], part) {
			t.Fatalf("%d bytes behind byte %d are not the superpacket's", len(part), len(got))
		}
		got = append(got, part...)
	}
}

func testQueuePartial(t *testing.T, q tunnel.Queue, k Kernel) {
	want := flow4.UDP([]byte("the sum of this is for somebody else to finish"))
	write(t, q, Partial(slices.Clone(want)))
	got := k.Receive(t)
	tunnel.FinishChecksum(&got)
	if !bytes.Equal(got.Data, want) {
		t.Fatalf("got\n%x, want\n%x", got.Data, want)
	}
}

func testQueueCloseUnblocks(t *testing.T, q tunnel.Queue, _ Kernel) {
	result := make(chan error, 1)
	go func() {
		for {
			if _, err := q.ReadBatch(make([]tunnel.Packet, 1)); err != nil {
				result <- err
				return
			}
		}
	}()
	time.Sleep(10 * time.Millisecond) // so that it likely waits already; either order must do
	if err := q.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	select {
	case err := <-result:
		if !errors.Is(err, os.ErrClosed) {
			t.Fatalf("ReadBatch returned %v, want os.ErrClosed", err)
		}
	case <-time.After(patience):
		t.Fatal("ReadBatch still waits after Close")
	}
}

func testQueueClosed(t *testing.T, q tunnel.Queue, _ Kernel) {
	for range 2 {
		if err := q.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	if n, err := q.ReadBatch(make([]tunnel.Packet, 1)); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("ReadBatch after Close: n %d, error %v, want os.ErrClosed", n, err)
	}
	if n, err := q.WriteBatch([]tunnel.Packet{{Data: flow4.UDP(nil)}}); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("WriteBatch after Close: n %d, error %v, want os.ErrClosed", n, err)
	}
}

func write(t *testing.T, q tunnel.Queue, packets ...tunnel.Packet) {
	t.Helper()
	if n, err := q.WriteBatch(packets); n != len(packets) || err != nil {
		t.Fatalf("WriteBatch of %d: n %d, error %v", len(packets), n, err)
	}
}

// readPackets reads count packets, at most room at a time, and copies them out with their checksums
// finished.
func readPackets(t *testing.T, q tunnel.Queue, room, count int) (all [][]byte) {
	t.Helper()
	timeout := time.AfterFunc(patience, func() { q.Close() })
	defer timeout.Stop()
	in := make([]tunnel.Packet, room)
	for len(all) < count {
		n, err := q.ReadBatch(in)
		if err != nil || n == 0 {
			t.Fatalf("after %d of %d packets within %v: n %d, error %v", len(all), count, patience, n, err)
		}
		for i := range in[:n] {
			tunnel.FinishChecksum(&in[i])
			all = append(all, slices.Clone(in[i].Data))
		}
	}
	return all
}
