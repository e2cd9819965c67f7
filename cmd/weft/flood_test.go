package main

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/perf/netlab"
)

// A flood is numbered, summed datagrams at a fixed rate from one container to another, one way. Unlike
// a stream it doesn't wait for anybody: what the fabric loses for a moment is lost, and counted.
type flood struct {
	from net.Conn
	to   net.PacketConn
	stop chan struct{}
	done sync.WaitGroup

	sent     atomic.Uint64
	received []atomic.Bool // by number
	twice    atomic.Uint64
	corrupt  atomic.Uint64
	refused  atomic.Uint64 // by the sender's own kernel
}

const (
	floodRate = 10_000 // datagrams a second
	floodSize = 200    // bytes of payload: number, contents, sum
)

// startFlood sends for at most longest.
func startFlood(t *testing.T, from, to *netlab.Container, longest time.Duration) *flood {
	t.Helper()
	f := &flood{stop: make(chan struct{}), received: make([]atomic.Bool, int(longest/time.Second+1)*floodRate)}
	var err error
	if f.to, err = to.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(to.Addr, 0).String()); err != nil {
		t.Fatal(err)
	}
	// A receiver that waits for the CPU must not lose what the fabric brought: room for seconds, whatever
	// net.core.rmem_max says.
	err = onSocket(f.to.(*net.UDPConn), func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20)
	})
	if err != nil {
		t.Fatal(err)
	}
	if f.from, err = from.Dial(context.Background(), "udp", f.to.LocalAddr().String()); err != nil {
		t.Fatal(err)
	}
	f.done.Go(f.send)
	f.done.Go(f.receive)
	return f
}

// send keeps the rate by the clock: a late wake-up is made up for.
func (f *flood) send() {
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	datagram := make([]byte, floodSize)
	for began, n := time.Now(), uint64(0); ; {
		select {
		case <-f.stop:
			return
		case <-pace.C:
		}
		due := min(uint64(time.Since(began)*floodRate/time.Second), uint64(len(f.received)))
		// What a stopped machine has missed isn't made up for at once: that would fill every queue.
		for burst := 0; n < due && burst < floodRate/100; burst++ {
			fillDatagram(datagram, n)
			f.sent.Store(n + 1)
			if _, err := f.from.Write(datagram); err != nil {
				f.refused.Add(1)
			}
			n++
		}
	}
}

func fillDatagram(datagram []byte, n uint64) {
	body := datagram[:len(datagram)-4]
	for i := 0; i+8 <= len(body); i += 8 {
		binary.BigEndian.PutUint64(body[i:], n+uint64(i)*0x9e3779b97f4a7c15) // contents of its own at every place
	}
	binary.BigEndian.PutUint32(datagram[len(body):], crc32.ChecksumIEEE(body))
}

func (f *flood) receive() {
	buffer := make([]byte, 2048)
	for {
		n, _, err := f.to.ReadFrom(buffer)
		if err != nil {
			return
		}
		body := buffer[:max(n-4, 0)]
		number := uint64(len(f.received))
		if n == floodSize && binary.BigEndian.Uint32(buffer[len(body):]) == crc32.ChecksumIEEE(body) {
			number = binary.BigEndian.Uint64(body)
		}
		switch {
		case number >= f.sent.Load():
			f.corrupt.Add(1)
		case f.received[number].Swap(true):
			f.twice.Add(1)
		}
	}
}

// lost counts what was sent and hasn't arrived, of the numbers from first up to and without last.
func (f *flood) lost(first, last uint64) (n int) {
	for i := first; i < last; i++ {
		if !f.received[i].Load() {
			n++
		}
	}
	return n
}

func (f *flood) end() {
	close(f.stop)
	time.AfterFunc(time.Second, func() { _ = f.to.Close() }) // what is on its way has arrived by then
	f.done.Wait()
	_ = f.from.Close()
}
