package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
)

// chunk is what one read or write of a bulk stream moves: iperf3's default, two superpackets, and
// small enough to stay in a second-level cache.
const chunk = 128 << 10

// tcpSink accepts j.Streams connections and counts what they bring until each is closed. All of them
// are accepted before the first is read: streams that start early would have the link to themselves.
func tcpSink(ctx context.Context, j Job, ready func(netip.AddrPort)) (Report, error) {
	listener, err := listen(ctx, j.Addr)
	if err != nil {
		return Report{}, err
	}
	defer listener.Close()
	ready(boundTo(listener))

	streams, err := acceptAll(listener, max(j.Streams, 1))
	if err != nil {
		return Report{}, err
	}
	m := &meter{window: newWindow(time.Now(), j)}
	var group errgroup.Group
	for _, s := range streams {
		group.Go(func() error { return drain(s, m) })
	}
	if err := group.Wait(); err != nil {
		return Report{}, err
	}
	return Report{Seconds: m.seconds(time.Now()), Bytes: m.counted.Load(), TotalBytes: m.total.Load()}, nil
}

// acceptAll waits for n connections, for each no longer than the grace time, and takes them out of
// Go's poller.
func acceptAll(listener *net.TCPListener, n int) ([]*stream, error) {
	streams := make([]*stream, 0, n)
	for range n {
		listener.SetDeadline(time.Now().Add(grace))
		conn, err := listener.AcceptTCP()
		if err != nil {
			return nil, fmt.Errorf("accepting stream %d of %d on %v: %w", len(streams)+1, n, listener.Addr(), err)
		}
		s, err := newStream(conn)
		if err != nil {
			return nil, err
		}
		streams = append(streams, s)
	}
	return streams, nil
}

// drain reads one stream to its end and counts it. The bytes are copied out, as any program would have
// them, though the kernel could be told to drop them (MSG_TRUNC): a benchmark shouldn't skip what
// every user pays for.
func drain(s *stream, m *meter) error {
	defer s.Close()
	buffer := make([]byte, chunk)
	for {
		n, err := s.Read(buffer)
		m.add(uint64(n), time.Now())
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading a stream: %w", err)
		}
	}
}

// tcpSource fills j.Streams connections for warm-up and window, and a little longer, so that no
// stream of the sink's window runs dry before its end.
func tcpSource(ctx context.Context, j Job, _ func(netip.AddrPort)) (Report, error) {
	var streams []*stream
	for range max(j.Streams, 1) {
		s, err := dial(ctx, j.Addr)
		if err != nil {
			return Report{}, err
		}
		streams = append(streams, s)
	}
	start := time.Now()
	until := start.Add(j.Warmup + j.Duration + runOut)
	var group errgroup.Group
	for _, s := range streams {
		group.Go(func() error { return fill(s, until) })
	}
	err := group.Wait()
	return Report{Seconds: time.Since(start).Seconds()}, err
}

// runOut is how much longer a source goes on than its job says: the sink's clock starts when the
// last connection is accepted, half a round trip and a wake-up later than the source's.
const runOut = 50 * time.Millisecond

// fill writes one stream until its time is over. What is in the socket then still arrives, and counts
// where the sink's window is open.
func fill(s *stream, until time.Time) error {
	defer s.Close()
	buffer := make([]byte, chunk)
	for time.Now().Before(until) {
		if _, err := s.Write(buffer); err != nil {
			return fmt.Errorf("writing a stream: %w", err)
		}
	}
	return nil
}
