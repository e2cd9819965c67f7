package selfcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Probe asks peers, at most sixteen of each family and size and evenly chosen among them, whether packets
// through the fabric reach them and come back. It takes as long as the slowest answer, and 1.5 s where
// somebody is silent; less if ctx ends, which leaves the rest unanswered.
//
// It needs CAP_NET_RAW, which an agent has, and must run in the agent's network namespace. Without a
// socket nobody answers, and Err of each says why.
func Probe(ctx context.Context, peers []Peer) Result {
	return probe(ctx, chosen(peers), listenRaw)
}

// A listen opens a socket for ICMP of one family: what it reads comes without IP header.
type listen func(ctx context.Context, v4 bool) (net.PacketConn, error)

func listenRaw(ctx context.Context, v4 bool) (net.PacketConn, error) {
	if v4 {
		return (&net.ListenConfig{}).ListenPacket(ctx, "ip4:icmp", "0.0.0.0")
	}
	return (&net.ListenConfig{}).ListenPacket(ctx, "ip6:ipv6-icmp", "::")
}

func probe(ctx context.Context, peers []Peer, listen listen) Result {
	r := newRound(peers)
	s := openSockets(ctx, peers, listen)
	var hearing sync.WaitGroup
	defer hearing.Wait()
	defer s.close()
	for _, v4 := range []bool{true, false} {
		if s.conn(v4) != nil {
			hearing.Go(func() { hear(r, s.conn(v4), v4) })
		}
	}
	for try := range tries {
		for _, q := range r.ask(try, time.Now()) {
			if err := s.send(q); err != nil {
				r.failed(q.peer, err)
			}
		}
		wait := lastWait
		if try < len(pauses) {
			wait = pauses[try]
		}
		if !pause(ctx, r.done, wait) {
			break
		}
	}
	return r.result()
}

// pause waits; false where there is nothing left to wait for.
func pause(ctx context.Context, done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-done:
		return false
	case <-timer.C:
		return true
	}
}

// sockets are one for each family that somebody is asked in.
type sockets struct {
	v4, v6     net.PacketConn
	err4, err6 error // why there is none
}

func openSockets(ctx context.Context, peers []Peer, listen listen) *sockets {
	var s sockets
	var has4, has6 bool
	for _, p := range peers {
		has4, has6 = has4 || p.Subnet.Addr().Is4(), has6 || !p.Subnet.Addr().Is4()
	}
	if has4 {
		s.v4, s.err4 = listen(ctx, true)
	}
	if has6 {
		s.v6, s.err6 = listen(ctx, false)
	}
	return &s
}

func (s *sockets) conn(v4 bool) net.PacketConn {
	if v4 {
		return s.v4
	}
	return s.v6
}

func (s *sockets) send(q request) error {
	conn, err := s.v6, s.err6
	if q.to.Is4() {
		conn, err = s.v4, s.err4
	}
	if err != nil {
		return fmt.Errorf("opening a raw socket for echo requests: %w", err)
	}
	if _, err := conn.WriteTo(q.packet, &net.IPAddr{IP: q.to.AsSlice()}); err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err // the addresses are in the sentence already
		}
		return fmt.Errorf("sending an echo request: %w", err)
	}
	return nil
}

func (s *sockets) close() {
	for _, conn := range []net.PacketConn{s.v4, s.v6} {
		if conn != nil {
			_ = conn.Close()
		}
	}
}

// hear reads until the socket is closed. An error that a socket may pass on and go on after, as a
// peer's that can't be reached, is no end.
func hear(r *round, conn net.PacketConn, v4 bool) {
	buffer := make([]byte, 1<<16)
	for {
		n, _, err := conn.ReadFrom(buffer)
		switch {
		case err == nil:
			r.hear(buffer[:n], v4, time.Now())
		case errors.Is(err, net.ErrClosed):
			return
		}
	}
}
