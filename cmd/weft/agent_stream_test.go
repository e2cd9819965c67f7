package main

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/perf/netlab"
)

// A stream is numbered datagrams that one container sends and another echoes, a thousand a second. At
// most a window of them is on its way, so that a machine too busy to keep up slows it and loses none:
// what doesn't come back was lost by the fabric.
type stream struct {
	to            net.PacketConn
	from          net.Conn
	stop          atomic.Bool
	sending, done sync.WaitGroup

	mu      sync.Mutex
	waiting map[uint64]bool // sent, and not back yet
	sent    uint64
	last    time.Time     // when one came back
	gap     time.Duration // the longest time without one
}

const streamWindow = 64

func startStream(t *testing.T, from, to *netlab.Container) *stream {
	t.Helper()
	s := &stream{waiting: map[uint64]bool{}, last: time.Now()}
	var err error
	if s.to, err = to.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(to.Addr, 0).String()); err != nil {
		t.Fatal(err)
	}
	if s.from, err = from.Dial(context.Background(), "udp", s.to.LocalAddr().String()); err != nil {
		t.Fatal(err)
	}
	s.done.Go(s.echo)
	s.done.Go(s.receive)
	s.sending.Go(s.send)
	return s
}

func (s *stream) echo() {
	buffer := make([]byte, 2048)
	for {
		n, peer, err := s.to.ReadFrom(buffer)
		if err != nil {
			return
		}
		_, _ = s.to.WriteTo(buffer[:n], peer)
	}
}

func (s *stream) send() {
	datagram := make([]byte, 200)
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for !s.stop.Load() {
		<-pace.C
		s.mu.Lock()
		full := len(s.waiting) >= streamWindow
		if !full {
			s.waiting[s.sent] = true
			binary.BigEndian.PutUint64(datagram, s.sent)
			s.sent++
		}
		s.mu.Unlock()
		if !full {
			_, _ = s.from.Write(datagram) // what isn't sent doesn't come back
		}
	}
}

func (s *stream) receive() {
	buffer := make([]byte, 2048)
	for {
		n, err := s.from.Read(buffer)
		if err != nil && !s.stop.Load() {
			continue // an ICMP error, which is a loss that send's count shows
		}
		if err != nil {
			return
		}
		s.mu.Lock()
		if n >= 8 {
			delete(s.waiting, binary.BigEndian.Uint64(buffer))
		}
		now := time.Now()
		s.gap, s.last = max(s.gap, now.Sub(s.last)), now
		s.mu.Unlock()
	}
}

// end stops sending, waits for what is on its way, and returns how many were sent and how many of
// them never came back.
func (s *stream) end() (sent uint64, lost int, gap time.Duration) {
	s.stop.Store(true)
	s.sending.Wait() // or what it sends last is never waited for
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		left := len(s.waiting)
		s.mu.Unlock()
		if left == 0 {
			break
		}
	}
	_ = s.to.Close()
	_ = s.from.Close()
	s.done.Wait()
	return s.sent, len(s.waiting), s.gap
}

// ticks returns the CPU time that a process has used, user and system, in hundredths of a second
// (USER_HZ, proc_pid_stat(5)).
func ticks(t *testing.T, p *program) int {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(p.Process.Pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may hold anything
	fields := strings.Fields(rest)
	total := 0
	for _, field := range fields[11:13] { // utime and stime, 14 and 15 of the whole line
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return total
}
