package tunneltest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"weft/tunnel"
)

// TestConn runs what every tunnel.Conn must do. open returns two conns that reach each other, new for
// every test, and sees to their end.
func TestConn(t *testing.T, open func(t *testing.T) (a, b tunnel.Conn)) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, a, b tunnel.Conn)
	}{
		{"joins head and payload and names the source", testConnJoins},
		{"keeps order over many sizes", testConnOrder},
		{"carries runs of equal datagrams", testConnRuns},
		{"carries the largest datagram", testConnLargest},
		{"hands out a batch piece by piece", testConnPieces},
		{"refuses one datagram alone", testConnRefusesOne},
		{"carries both directions at once", testConnBothWays},
		{"close unblocks a waiting read", testConnCloseUnblocks},
		{"stays closed", testConnClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := open(t)
			test.run(t, a, b)
		})
	}
}

func testConnJoins(t *testing.T, a, b tunnel.Conn) {
	send(t, a, []tunnel.Datagram{
		{Addr: b.LocalAddr(), Head: []byte("head,"), Payload: []byte("payload")},
		{Addr: b.LocalAddr(), Payload: []byte("payload alone")},
		{Addr: b.LocalAddr(), Head: []byte("head alone!")},
	})
	for i, got := range receive(t, b, 3) {
		want := []string{"head,payload", "payload alone", "head alone!"}[i]
		if string(got.Payload) != want || got.Addr != a.LocalAddr() {
			t.Errorf("datagram %d: got %q from %v, want %q from %v", i, got.Payload, got.Addr, want, a.LocalAddr())
		}
	}
}

// numbered returns count datagrams that carry their number, of the sizes that size gives them.
func numbered(to tunnel.Conn, count int, size func(i int) int) []tunnel.Datagram {
	all := make([]tunnel.Datagram, count)
	for i := range all {
		b := bytes.Repeat([]byte{byte(i)}, size(i))
		binary.BigEndian.PutUint32(b, uint32(i))
		cut := len(b) / 3
		all[i] = tunnel.Datagram{Addr: to.LocalAddr(), Head: b[:cut], Payload: b[cut:]}
	}
	return all
}

func sendAndCompare(t *testing.T, a, b tunnel.Conn, all []tunnel.Datagram) {
	t.Helper()
	send(t, a, all)
	for i, got := range receive(t, b, len(all)) {
		if want := slices.Concat(all[i].Head, all[i].Payload); !bytes.Equal(got.Payload, want) {
			t.Fatalf("datagram %d of %d: got %d bytes %.8x…, want %d bytes %.8x…", i, len(all),
				len(got.Payload), got.Payload, len(want), want)
		}
	}
}

func testConnOrder(t *testing.T, a, b tunnel.Conn) {
	sizes := []int{4, 1400, 1400, 60, 1400, 900, 1400, 1400, 1400, 8, 8, 8, 8}
	sendAndCompare(t, a, b, numbered(b, 100, func(i int) int { return sizes[i%len(sizes)] }))
}

func testConnRuns(t *testing.T, a, b tunnel.Conn) {
	for _, count := range []int{1, 2, 45, 64, 65, 128, 129} {
		sendAndCompare(t, a, b, numbered(b, count, func(i int) int {
			if i == count-1 {
				return 333
			}
			return 1372
		}))
	}
}

func testConnLargest(t *testing.T, a, b tunnel.Conn) {
	largest := maxPayload
	if b.LocalAddr().Addr().Is6() {
		largest -= 20 // a loopback device of MTU 65,536 is in the way
	}
	sendAndCompare(t, a, b, numbered(b, 3, func(int) int { return largest }))
}

func testConnPieces(t *testing.T, a, b tunnel.Conn) {
	all := numbered(b, 10, func(i int) int { return 10 + i })
	send(t, a, all)
	one := make([]tunnel.Datagram, 1)
	for i := 0; i < len(all); {
		n, err := b.ReadBatch(one)
		if n != 1 || err != nil {
			t.Fatalf("ReadBatch of one: n %d, error %v", n, err)
		}
		for _, got := range split(one[0]) {
			if want := slices.Concat(all[i].Head, all[i].Payload); !bytes.Equal(got.Payload, want) {
				t.Fatalf("datagram %d: got %x, want %x", i, got.Payload, want)
			}
			i++
		}
	}
}

// testConnRefusesOne sends one datagram that no network takes among others that it does.
func testConnRefusesOne(t *testing.T, a, b tunnel.Conn) {
	all := numbered(b, 5, func(int) int { return 100 })
	all[2].Payload = make([]byte, 70_000)
	n, err := a.WriteBatch(all)
	if n != 4 || err != nil {
		t.Fatalf("n %d, error %v, want 4 and none", n, err)
	}
	for i, d := range all {
		if want := map[bool]syscall.Errno{true: syscall.EMSGSIZE}[i == 2]; d.Errno != want {
			t.Errorf("datagram %d: errno %v, want %v", i, d.Errno, want)
		}
	}
	for i, got := range receive(t, b, 4) {
		if want := []byte{0, 1, 3, 4}[i]; got.Payload[3] != want {
			t.Errorf("received %d as number %d, want %d", got.Payload[3], i, want)
		}
	}
}

// testConnBothWays has both conns read and written to by two goroutines each.
func testConnBothWays(t *testing.T, a, b tunnel.Conn) {
	const rounds = 50
	var group sync.WaitGroup
	for _, pair := range [][2]tunnel.Conn{{a, b}, {b, a}} {
		group.Go(func() {
			for range rounds {
				send(t, pair[0], numbered(pair[1], 8, func(i int) int { return 200 }))
			}
		})
		group.Go(func() {
			for i, got := range receive(t, pair[1], rounds*8) {
				if int(got.Payload[3]) != i%8 {
					t.Errorf("datagram %d carries number %d, want %d", i, got.Payload[3], i%8)
					return
				}
			}
		})
	}
	group.Wait()
}

func testConnCloseUnblocks(t *testing.T, a, _ tunnel.Conn) {
	result := make(chan error, 1)
	go func() {
		_, err := a.ReadBatch(make([]tunnel.Datagram, 1))
		result <- err
	}()
	time.Sleep(10 * time.Millisecond) // so that it likely waits already; either order must do
	if err := a.Close(); err != nil {
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

func testConnClosed(t *testing.T, a, b tunnel.Conn) {
	for range 2 {
		if err := a.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	if n, err := a.ReadBatch(make([]tunnel.Datagram, 1)); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("ReadBatch after Close: n %d, error %v, want os.ErrClosed", n, err)
	}
	if n, err := a.WriteBatch(numbered(b, 1, func(int) int { return 10 })); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("WriteBatch after Close: n %d, error %v, want os.ErrClosed", n, err)
	}
}

// send sends all datagrams and fails the test unless every one was taken. It may run beside receive.
func send(t *testing.T, c tunnel.Conn, all []tunnel.Datagram) {
	t.Helper()
	n, err := c.WriteBatch(all)
	if n != len(all) || err != nil {
		t.Errorf("WriteBatch of %d: n %d, error %v", len(all), n, err)
	}
	for i, d := range all {
		if d.Errno != 0 {
			t.Errorf("datagram %d of %d: %v", i, len(all), d.Errno)
		}
	}
}

// receive reads until it has count datagrams, trains taken apart and copied out. When they don't all
// come it closes the conn to get out, and reports fewer.
func receive(t *testing.T, c tunnel.Conn, count int) (all []tunnel.Datagram) {
	t.Helper()
	timeout := time.AfterFunc(patience, func() { c.Close() })
	defer timeout.Stop()
	in := make([]tunnel.Datagram, 16)
	for len(all) < count {
		n, err := c.ReadBatch(in)
		if err != nil || n == 0 {
			t.Errorf("after %d of %d datagrams within %v: n %d, error %v", len(all), count, patience, n, err)
			return all
		}
		for _, d := range in[:n] {
			all = append(all, split(d)...)
		}
	}
	if len(all) > count {
		t.Errorf("%d datagrams arrived, %d were sent", len(all), count)
	}
	return all[:count]
}

// split takes a train apart and copies it.
func split(d tunnel.Datagram) (all []tunnel.Datagram) {
	size := d.SegmentSize
	if size == 0 {
		size = max(len(d.Payload), 1)
	}
	for chunk := range slices.Chunk(d.Payload, size) {
		all = append(all, tunnel.Datagram{Addr: d.Addr, Payload: slices.Clone(chunk)})
	}
	return all
}
