package load

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// A stream is one TCP connection on a blocking descriptor: a read or write is one system call on
// the calling thread, which waits in the kernel. One reader and one writer at a time.
type stream struct{ fd int }

// newStream takes over conn, which is closed in any case.
func newStream(conn *net.TCPConn) (*stream, error) {
	defer conn.Close()
	fd, err := duplicate(conn)
	if err != nil {
		return nil, fmt.Errorf("taking over the connection to %v: %w", conn.RemoteAddr(), err)
	}
	s := &stream{fd: fd}
	if err := s.block(grace); err != nil {
		s.Close()
		return nil, fmt.Errorf("taking over the connection to %v: %w", conn.RemoteAddr(), err)
	}
	return s, nil
}

// dial connects to a sink.
func dial(ctx context.Context, to netip.AddrPort) (*stream, error) {
	dialer := net.Dialer{Timeout: grace}
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, fmt.Errorf("connecting to %v: %w", to, err)
	}
	return newStream(conn.(*net.TCPConn))
}

// listen opens a sink's listener. It closes when ctx ends.
func listen(ctx context.Context, on netip.AddrPort) (*net.TCPListener, error) {
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(on))
	if err != nil {
		return nil, fmt.Errorf("listening on %v: %w", on, err)
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	return listener, nil
}

func boundTo(listener *net.TCPListener) netip.AddrPort {
	return listener.Addr().(*net.TCPAddr).AddrPort()
}
