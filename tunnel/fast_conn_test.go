package tunnel

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// faultySocket is the kernel's side of a FastConn: it fails as told, and keeps what it took.
type faultySocket struct {
	// fault returns the error for a message; 0 lets it through.
	fault   func(run Run, datagrams []Datagram) syscall.Errno
	atOnce  int // messages a call takes at most, for short counts; 0: all
	wire    [][]byte
	calls   int
	waits   int
	runs    int // messages that carried more than one datagram
	waitErr syscall.Errno
}

func (s *faultySocket) send(out []Datagram, runs []Run) (sent int, errno syscall.Errno) {
	s.calls++
	for _, run := range runs {
		if s.atOnce > 0 && sent == s.atOnce {
			break
		}
		batch := out[run.First:][:run.Count]
		if errno = s.fault(run, batch); errno != 0 {
			break
		}
		for _, d := range batch {
			s.wire = append(s.wire, append(bytes.Clone(d.Head), d.Payload...))
		}
		if sent++; run.Count > 1 {
			s.runs++
		}
	}
	if sent > 0 {
		errno = 0 // sendmmsg keeps the error of a later message to itself
	}
	return sent, errno
}

func (s *faultySocket) receive([]Datagram) (int, syscall.Errno) { return 0, syscall.EAGAIN }
func (s *faultySocket) wait(bool) syscall.Errno                 { s.waits++; return s.waitErr }
func (s *faultySocket) wake()                                   { s.waitErr = syscall.ECANCELED }
func (s *faultySocket) close() error                            { return nil }

// faultyConn returns a conn over a socket that fails as told.
func faultyConn(fault func(run Run, datagrams []Datagram) syscall.Errno) (*FastConn, *faultySocket) {
	socket := &faultySocket{fault: fault}
	return newFastConn(addrA, socket, Offloads{GSO: true, GRO: true, Batch: true}, runSegments), socket
}

// numbered returns datagrams that can be told apart, of the sizes given, as datagrams does.
func numbered(sizes ...int) []Datagram {
	out := datagrams(sizes...)
	for i := range out {
		for j := range out[i].Payload {
			out[i].Payload[j] = byte(i)
		}
	}
	return out
}

// failing fails the first n messages that match.
func failing(errno syscall.Errno, n int, match func(Run) bool) func(Run, []Datagram) syscall.Errno {
	return func(run Run, _ []Datagram) syscall.Errno {
		if n > 0 && match(run) {
			n--
			return errno
		}
		return 0
	}
}

func anyRun(Run) bool       { return true }
func realRun(run Run) bool  { return run.Count > 1 }
func longRun(run Run) bool  { return run.Count > runSegmentsOld }
func singleton(r Run) bool  { return r.Count == 1 }
func always() (forever int) { return 1 << 30 }

func TestSendLadderLosesNothing(t *testing.T) {
	sizes := slices.Concat(repeat(100, 5), []int{40}, repeat(-200, 3), repeat(70, 1), repeat(64, 130))
	for _, c := range []struct {
		name    string
		fault   func(Run, []Datagram) syscall.Errno
		atOnce  int
		wantGSO bool
	}{
		{name: "nothing fails", fault: failing(0, 0, anyRun), wantGSO: true},
		{name: "short counts", fault: failing(0, 0, anyRun), atOnce: 1, wantGSO: true},
		{name: "EINTR", fault: failing(syscall.EINTR, 3, anyRun), wantGSO: true},
		{name: "EAGAIN", fault: failing(syscall.EAGAIN, 3, anyRun), wantGSO: true},
		{name: "ENOBUFS for a while", fault: failing(syscall.ENOBUFS, 3, anyRun), wantGSO: true},
		{name: "pending ECONNREFUSED", fault: failing(syscall.ECONNREFUSED, 1, anyRun), wantGSO: true},
		{name: "EIO: no checksum offload", fault: failing(syscall.EIO, always(), realRun)},
		{name: "EIO with short counts", fault: failing(syscall.EIO, always(), realRun), atOnce: 1},
		{name: "EINVAL: 64 segments at most", fault: failing(syscall.EINVAL, always(), longRun), wantGSO: true},
		{name: "EMSGSIZE for every run", fault: failing(syscall.EMSGSIZE, always(), realRun), wantGSO: true},
		{name: "EINVAL for one run", fault: failing(syscall.EINVAL, 1, realRun), wantGSO: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, socket := faultyConn(c.fault)
			socket.atOnce = c.atOnce
			out := numbered(sizes...)
			n, err := conn.WriteBatch(out)
			if n != len(out) || err != nil {
				t.Fatalf("WriteBatch: %d, %v; want all %d", n, err, len(out))
			}
			for i := range out {
				if out[i].Errno != 0 || !bytes.Equal(socket.wire[i], joined(out[i], 0)) {
					t.Fatalf("datagram %d: errno %v, on the wire %x", i, out[i].Errno, socket.wire[i])
				}
			}
			if got := conn.Offloads().GSO; got != c.wantGSO || got == (conn.LoweredBy() != "") {
				t.Errorf("GSO %v, lowered by %q; want GSO %v", got, conn.LoweredBy(), c.wantGSO)
			}
		})
	}
}

// What can't be sent is lost alone, and its Errno says why.
func TestSendErrorsHitOnlyTheirDatagrams(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EPERM, syscall.ENOBUFS, syscall.ECONNREFUSED, syscall.EHOSTUNREACH} {
		conn, socket := faultyConn(func(_ Run, batch []Datagram) syscall.Errno {
			if batch[0].Addr == addrB {
				return errno
			}
			return 0
		})
		out := numbered(100, 100, -100, -100, 100, -60, 60)
		n, err := conn.WriteBatch(out)
		if n != 4 || err != nil || len(socket.wire) != 4 {
			t.Errorf("%v: %d sent, %v; want the 4 to the other peer", errno, n, err)
		}
		for i := range out {
			if want := map[bool]syscall.Errno{true: errno}[out[i].Addr == addrB]; out[i].Errno != want {
				t.Errorf("%v: datagram %d to %v has errno %v", errno, i, out[i].Addr, out[i].Errno)
			}
		}
		if !conn.Offloads().GSO {
			t.Errorf("%v took GSO off", errno)
		}
	}
}

// Over the path MTU: only what doesn't fit is refused, although it was in one run with what does.
func TestSendOverPathMTU(t *testing.T) {
	conn, socket := faultyConn(func(run Run, batch []Datagram) syscall.Errno {
		if run.SegmentSize > 1000 {
			return syscall.EMSGSIZE
		}
		return 0
	})
	out := numbered(1400, 1400, 900, 800)
	n, err := conn.WriteBatch(out)
	if n != 2 || err != nil || len(socket.wire) != 2 || !conn.Offloads().GSO {
		t.Errorf("%d sent, %v, GSO %v; want the two that fit, GSO on", n, err, conn.Offloads().GSO)
	}
	if out[0].Errno != syscall.EMSGSIZE || out[1].Errno != syscall.EMSGSIZE || out[2].Errno != 0 {
		t.Errorf("errnos %v %v %v", out[0].Errno, out[1].Errno, out[2].Errno)
	}
}

func TestSendUsesRunsAndOneCall(t *testing.T) {
	conn, socket := faultyConn(failing(0, 0, anyRun))
	if _, err := conn.WriteBatch(numbered(slices.Concat(repeat(100, 40), repeat(-100, 40), repeat(30, 1))...)); err != nil {
		t.Fatal(err)
	}
	if socket.calls != 1 || socket.runs != 2 {
		t.Errorf("%d calls with %d runs, want 1 with 2", socket.calls, socket.runs)
	}
}

func TestSendAfterClose(t *testing.T) {
	conn, _ := faultyConn(failing(syscall.EAGAIN, always(), anyRun))
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WriteBatch(numbered(10)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("WriteBatch after Close: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// A writer that waits for room in the socket's buffer must not keep Close waiting.
func TestCloseWhileSocketIsFull(t *testing.T) {
	conn, socket := faultyConn(failing(syscall.EAGAIN, always(), anyRun))
	socket.waitErr = syscall.ECANCELED // what wait returns once Close has woken it
	if n, err := conn.WriteBatch(numbered(10, 10)); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("%d, %v; want ErrClosed", n, err)
	}
}

func TestSendAllocatesNothing(t *testing.T) {
	conn, socket := faultyConn(failing(0, 0, anyRun))
	out := numbered(slices.Concat(repeat(1472, 44), repeat(60, 10), repeat(-60, 10))...)
	socket.fault = func(Run, []Datagram) syscall.Errno { return syscall.EPERM } // takes nothing, so keeps nothing
	if n := testing.AllocsPerRun(50, func() { conn.WriteBatch(out) }); n != 0 {
		t.Errorf("%v allocations per batch, want 0", n)
	}
}

func TestSendSinglyKeepsErrnoOfEach(t *testing.T) {
	conn, _ := faultyConn(func(run Run, batch []Datagram) syscall.Errno {
		if realRun(run) {
			return syscall.EINVAL
		}
		if singleton(run) && batch[0].Payload[0]%2 == 1 {
			return syscall.EPERM
		}
		return 0
	})
	out := numbered(repeat(100, 6)...)
	n, err := conn.WriteBatch(out)
	if n != 3 || err != nil {
		t.Errorf("%d, %v; want every second one", n, err)
	}
	for i := range out {
		if want := []syscall.Errno{0, syscall.EPERM}[i%2]; out[i].Errno != want {
			t.Errorf("datagram %d: errno %v, want %v", i, out[i].Errno, want)
		}
	}
}

func TestTurnOffRunsHoldsFromTheNextBatchOn(t *testing.T) {
	conn, socket := faultyConn(failing(0, 0, anyRun))
	for i, wantRuns := range []int{1, 0} {
		socket.runs = 0
		if n, err := conn.WriteBatch(numbered(repeat(100, 5)...)); n != 5 || err != nil || socket.runs != wantRuns {
			t.Errorf("batch %d: %d sent, %v, in %d runs; want %d", i, n, err, socket.runs, wantRuns)
		}
		conn.TurnOffRuns("peer counts malformed datagrams")
	}
	if conn.Offloads().GSO || !strings.Contains(conn.LoweredBy(), "malformed") {
		t.Errorf("GSO %v, lowered by %q", conn.Offloads().GSO, conn.LoweredBy())
	}
}

// A queue that stays full must not hold the other direction up for every message of a batch.
func TestSendPausesAreBoundedForTheWholeBatch(t *testing.T) {
	conn, socket := faultyConn(failing(syscall.ENOBUFS, always(), anyRun))
	var sizes []int
	for i := range 50 {
		sizes = append(sizes, 100+i) // no two in one run
	}
	out := numbered(sizes...)
	if n, err := conn.WriteBatch(out); n != 0 || err != nil || out[49].Errno != syscall.ENOBUFS {
		t.Errorf("%d, %v, last errno %v; want all refused", n, err, out[49].Errno)
	}
	if want := len(out) + sendPauses; socket.calls != want {
		t.Errorf("%d calls, want %d: each message once, and %d again", socket.calls, want, sendPauses)
	}
}
