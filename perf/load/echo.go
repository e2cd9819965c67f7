package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// echoSink answers every message of one connection with itself until the source closes it. It has no
// figures: how long an answer took is seen where the question was asked.
func echoSink(ctx context.Context, j Job, ready func(netip.AddrPort)) (Report, error) {
	listener, err := listen(ctx, j.Addr)
	if err != nil {
		return Report{}, err
	}
	defer listener.Close()
	ready(boundTo(listener))
	streams, err := acceptAll(listener, 1)
	if err != nil {
		return Report{}, err
	}
	defer streams[0].Close()
	runtime.LockOSThread() // one thread waits in recv; a change of threads would show as latency
	defer runtime.UnlockOSThread()
	buffer := make([]byte, j.Sizes[0])
	for {
		n, err := streams[0].Read(buffer)
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return Report{}, nil
		}
		if err == nil {
			_, err = streams[0].Write(buffer[:n])
		}
		if err != nil {
			return Report{}, fmt.Errorf("answering a message: %w", err)
		}
	}
}

// echoSource measures half round trips of one message in flight, as sockperf's ping-pong does. Every
// one is kept, so that the 99.9th percentile is a message that was really seen and not a bucket's edge.
func echoSource(ctx context.Context, j Job, _ func(netip.AddrPort)) (Report, error) {
	s, err := dial(ctx, j.Addr)
	if err != nil {
		return Report{}, err
	}
	defer s.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	w := newWindow(time.Now(), j)
	message := make([]byte, j.Sizes[0])
	trips := make([]time.Duration, 0, 1<<16) // some seconds' worth: growing copies, and copying shows as latency
	for before := time.Now(); before.Before(w.closes); {
		if err := exchange(s, message); err != nil {
			return Report{}, fmt.Errorf("exchanging messages with %v: %w", j.Addr, err)
		}
		after := time.Now()
		if w.holds(before) {
			trips = append(trips, after.Sub(before))
		}
		before = after // one clock reading per message
	}
	return latencies(trips, j.Duration)
}

// exchange sends a message and waits for all of it.
func exchange(s *stream, message []byte) error {
	if _, err := s.Write(message); err != nil {
		return err
	}
	_, err := io.ReadFull(s, message)
	return err
}

// latencies sorts round trips and reports halves of them in microseconds.
func latencies(trips []time.Duration, window time.Duration) (Report, error) {
	if len(trips) == 0 {
		return Report{}, fmt.Errorf("measuring latency: no message came back within %v", window)
	}
	slices.Sort(trips)
	half := func(quantile float64) float64 {
		i := min(int(quantile*float64(len(trips))), len(trips)-1)
		return float64(trips[i].Nanoseconds()) / 2 / 1e3
	}
	return Report{
		Seconds: window.Seconds(), Messages: uint64(len(trips)),
		P50: half(0.50), P99: half(0.99), P999: half(0.999),
	}, nil
}
