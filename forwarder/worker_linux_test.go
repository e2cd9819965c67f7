package forwarder

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/routes"
	"weft/tunnel"
	"weft/tunnel/tunneltest"

	"golang.org/x/sys/unix"
)

// A pipe is a Pollable queue and conn over one end of a socket pair; the test has the other end.
type pipe struct {
	near, far int
	waits     bool  // until SetNonblocking
	broken    error // what reading returns
	from      netip.AddrPort
	buf       [2048]byte
}

func newPipe(t *testing.T, from netip.AddrPort) *pipe {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
	return &pipe{near: fds[0], far: fds[1], waits: true, from: from}
}

func (p *pipe) FD() int                   { return p.near }
func (p *pipe) SetNonblocking()           { p.waits = false }
func (p *pipe) LocalAddr() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.1:8285") }
func (*pipe) Offloads() tunnel.Offloads   { return tunnel.Offloads{} }
func (*pipe) Close() error                { return nil }
func (p *pipe) read() (data []byte, err error) {
	if p.waits {
		return nil, errors.New("read before SetNonblocking: this would block")
	}
	if p.broken != nil {
		return nil, p.broken
	}
	n, err := unix.Read(p.near, p.buf[:])
	if err == unix.EAGAIN {
		return nil, tunnel.ErrWouldBlock
	}
	return p.buf[:max(n, 0)], err
}

// pipeQueue and pipeConn are the two faces of a pipe.
type (
	pipeQueue struct{ *pipe }
	pipeConn  struct{ *pipe }
)

func (q pipeQueue) ReadBatch(packets []tunnel.Packet) (int, error) {
	data, err := q.read()
	if err != nil {
		return 0, err
	}
	packets[0] = tunnel.Packet{Data: data}
	return 1, nil
}

func (q pipeQueue) WriteBatch(packets []tunnel.Packet) (n int, err error) {
	for _, p := range packets {
		if _, err := unix.Write(q.near, p.Data); err == nil {
			n++
		}
	}
	return n, nil
}

func (c pipeConn) ReadBatch(in []tunnel.Datagram) (int, error) {
	data, err := c.read()
	if err != nil {
		return 0, err
	}
	in[0] = tunnel.Datagram{Addr: c.from, Payload: data}
	return 1, nil
}

func (c pipeConn) WriteBatch(out []tunnel.Datagram) (n int, err error) {
	for i := range out {
		if _, err := unix.Write(c.near, bytes.Join([][]byte{out[i].Head, out[i].Payload}, nil)); err == nil {
			n++
		}
	}
	return n, nil
}

// receive waits for what the forwarder wrote to the pipe.
func (p *pipe) receive(t *testing.T) []byte {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(p.far), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 5000); n != 1 {
		t.Fatalf("nothing came within 5 s: %v", err)
	}
	buf := make([]byte, 2048)
	n, err := unix.Read(p.far, buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// polledHost returns a forwarder whose one worker has pollable descriptors only.
func polledHost(t *testing.T, split bool) (f *Forwarder, queue, conn *pipe) {
	t.Helper()
	queue, conn = newPipe(t, netip.AddrPort{}), newPipe(t, peerOuter)
	table, err := routes.New(routes.Layout{Local: []netip.Prefix{own4}}, []routes.Route{{Subnet: peer4, Hop: &routes.Hop{Outer: peerOuter}}})
	if err != nil {
		t.Fatal(err)
	}
	var live routes.Live
	live.Publish(table)
	f, err = New(Config{
		Workers: []Worker{{Queue: pipeQueue{queue}, Conns: []tunnel.Conn{pipeConn{conn}}}},
		Routes:  &live, MTU: 1400, SplitDirections: split,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, queue, conn
}

// TestOneThreadServesBothDirections lets traffic come from either side, together and with pauses in which the
// worker has to wait, and then ends the forwarder, which nothing but its own wake-up can do here.
func TestOneThreadServesBothDirections(t *testing.T) {
	f, queue, conn := polledHost(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- f.Run(ctx) }()
	for i := range 20 {
		out, in := out4.UDP([]byte{byte(i)}), out4.Reverse().UDP([]byte{byte(i)})
		if i%3 != 1 {
			mustWrite(t, queue.far, out)
			if got := conn.receive(t); !bytes.Equal(got, out) {
				t.Fatalf("out came %x, want %x", got, out)
			}
		}
		if i%3 != 0 {
			mustWrite(t, conn.far, in)
			if got := queue.receive(t); !bytes.Equal(got, in) {
				t.Fatalf("in came %x, want %x", got, in)
			}
		}
	}
	cancel()
	select {
	case err := <-result:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the worker still waits though its context has ended")
	}
	if c := f.Counters(); c.Egress.Packets != 13 || c.Ingress.Packets != 13 {
		t.Errorf("counted %d out and %d in, want 13 and 13", c.Egress.Packets, c.Ingress.Packets)
	}
}

func mustWrite(t *testing.T, fd int, data []byte) {
	t.Helper()
	if _, err := unix.Write(fd, data); err != nil {
		t.Fatal(err)
	}
}

func TestOneThreadEndsWithTheFirstError(t *testing.T) {
	f, queue, _ := polledHost(t, false)
	queue.broken = unix.EBADFD
	err := f.Run(t.Context())
	if !errors.Is(err, unix.EBADFD) || !strings.Contains(err.Error(), "worker 0") {
		t.Errorf("Run: %v, want worker 0's EBADFD", err)
	}
}

func TestDirectionsAreSplitOnDemand(t *testing.T) {
	f, _, _ := polledHost(t, true)
	if n := len(f.workers[0].directions()); n != 2 || f.workers[0].shared != nil {
		t.Errorf("%d directions, want 2 of their own", n)
	}
	// One descriptor that can't be polled decides for all.
	conn, err := tunneltest.NewWire().Listen(netip.MustParseAddrPort("192.0.2.1:8285"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := pollables(Worker{Queue: pipeQueue{newPipe(t, netip.AddrPort{})}, Conns: []tunnel.Conn{conn}}); ok {
		t.Error("a conn in memory counts as pollable")
	}
}
