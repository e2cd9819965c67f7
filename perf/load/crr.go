package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// defaultInFlight is how many connections a CRR source keeps going: enough that the rate measures
// cost and not latency.
const defaultInFlight = 8

// crrSink accepts connections, answers one byte on each, and closes, until the source's window is
// over or ctx ends. It reports nothing: only the source knows which connections came through.
func crrSink(ctx context.Context, j Job, ready func(netip.AddrPort)) (Report, error) {
	listener, err := listen(ctx, j.Addr)
	if err != nil {
		return Report{}, err
	}
	ready(boundTo(listener))
	listener.SetDeadline(time.Now().Add(grace))
	// The sink can't see the window's end, so it lives as long as the source does from the first
	// connection on. Each connection has a goroutine: one that hangs must not hold up the others.
	var first sync.Once
	var group errgroup.Group
	group.SetLimit(maxStreams)
	for {
		conn, err := listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			listener.Close()
			return Report{}, group.Wait()
		}
		if err != nil {
			return Report{}, fmt.Errorf("accepting on %v: %w", listener.Addr(), err)
		}
		first.Do(func() { listener.SetDeadline(time.Now().Add(j.Warmup + j.Duration + runOut)) })
		group.Go(func() error { answerOnce(conn, grace); return nil })
	}
}

// answerOnce serves one connection. The source may be gone already: then there is nothing to count.
func answerOnce(conn *net.TCPConn, patience time.Duration) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience)) // a source that died leaves connections half-open
	var one [1]byte
	if _, err := conn.Read(one[:]); err != nil {
		return
	}
	if _, err := conn.Write(one[:]); err != nil {
		return
	}
	// Wait for the source's reset, so that this end never is the one in TIME_WAIT.
	conn.Read(one[:])
}

// crrSource makes connections one after the other, j.Streams at a time, and counts the complete.
func crrSource(ctx context.Context, j Job, _ func(netip.AddrPort)) (Report, error) {
	inFlight := j.Streams
	if inFlight == 0 {
		inFlight = defaultInFlight
	}
	m := &meter{window: newWindow(time.Now(), j)}
	// A connection counts when it is complete. One failure fails the job: a fabric that loses
	// handshakes is not a slower one, and a retransmitted SYN costs a whole second anyway.
	var group errgroup.Group
	for range inFlight {
		group.Go(func() error {
			for time.Now().Before(m.window.closes) {
				err := askOnce(ctx, j.Addr)
				if !time.Now().Before(m.window.closes) {
					return nil // too late to count, and the sink may be gone
				}
				if err != nil {
					return fmt.Errorf("connecting to %v: %w", j.Addr, err)
				}
				m.add(1, time.Now())
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Report{}, err
	}
	return Report{Seconds: m.seconds(time.Now()), Connections: m.counted.Load()}, nil
}

// askOnce is one connection: handshake, a byte there, a byte back, and a reset, which leaves no
// TIME_WAIT that would exhaust the ports within seconds.
func askOnce(ctx context.Context, to netip.AddrPort) error {
	dialer := net.Dialer{Timeout: grace}
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return err
	}
	tcp := conn.(*net.TCPConn)
	defer tcp.Close()
	tcp.SetLinger(0)
	tcp.SetDeadline(time.Now().Add(grace))
	one := [1]byte{1}
	if _, err := tcp.Write(one[:]); err != nil {
		return err
	}
	_, err = tcp.Read(one[:])
	return err
}
