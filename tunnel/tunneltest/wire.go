package tunneltest

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"

	"weft/tunnel"
)

// Wire is an underlay in memory. Conns that listen on it reach each other by address; datagrams to
// nobody vanish, as on a network.
type Wire struct {
	mu    sync.Mutex
	conns map[netip.AddrPort]*WireConn
}

// NewWire returns an underlay without hosts.
func NewWire() *Wire { return &Wire{conns: make(map[netip.AddrPort]*WireConn)} }

// Listen attaches a conn at an address and port that nobody has yet.
func (w *Wire) Listen(local netip.AddrPort) (*WireConn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conns[local] != nil {
		return nil, fmt.Errorf("listening on %v: %w", local, syscall.EADDRINUSE)
	}
	c := &WireConn{wire: w, local: local}
	c.changed.L = &c.mu
	w.conns[local] = c
	return c, nil
}

// Inject delivers one datagram as if it came from any address, a peer's or not.
func (w *Wire) Inject(from, to netip.AddrPort, payload []byte) {
	w.InjectTrain(from, to, payload, 0)
}

// InjectTrain delivers a train: datagrams of segmentSize bytes in one piece, as UDP_GRO hands them over.
func (w *Wire) InjectTrain(from, to netip.AddrPort, payload []byte, segmentSize int) {
	w.mu.Lock()
	c := w.conns[to]
	w.mu.Unlock()
	if c != nil {
		c.deliver(tunnel.Datagram{Addr: from, Payload: slices.Clone(payload), SegmentSize: segmentSize})
	}
}

// WireConn is a tunnel.Conn on a Wire.
type WireConn struct {
	wire    *Wire
	local   netip.AddrPort
	mu      sync.Mutex
	changed sync.Cond
	in      []tunnel.Datagram
	lent    [][]byte
	fault   func(*tunnel.Datagram) syscall.Errno
	pathMTU int
	closed  bool
}

// maxPayload is the largest UDP payload over IPv4: 65,535 − 20 − 8 bytes.
const maxPayload = 65507

// SetFault has every datagram asked about before it is sent: it is refused with what fault returns,
// unless that is 0. nil ends it.
func (c *WireConn) SetFault(fault func(*tunnel.Datagram) syscall.Errno) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = fault
}

// SetPathMTU has datagrams over that many bytes, outer IP and UDP headers (28 bytes) included, refused
// with EMSGSIZE, and PathMTU return it. 0 ends it.
func (c *WireConn) SetPathMTU(bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pathMTU = bytes
}

// PathMTU returns what SetPathMTU set, or 65,535.
func (c *WireConn) PathMTU(netip.AddrPort) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pathMTU == 0 {
		return 65535, nil
	}
	return c.pathMTU, nil
}

func (c *WireConn) deliver(d tunnel.Datagram) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.in = append(c.in, d)
		c.changed.Broadcast()
	}
}

// ReadBatch implements tunnel.Conn.
func (c *WireConn) ReadBatch(in []tunnel.Datagram) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.lent {
		spoil(b)
	}
	c.lent = c.lent[:0]
	for len(c.in) == 0 && !c.closed {
		c.changed.Wait()
	}
	if c.closed {
		return 0, os.ErrClosed
	}
	n = copy(in, c.in)
	c.in = slices.Delete(c.in, 0, n)
	for _, d := range in[:n] {
		c.lent = append(c.lent, d.Payload)
	}
	return n, nil
}

// WriteBatch implements tunnel.Conn.
func (c *WireConn) WriteBatch(out []tunnel.Datagram) (n int, err error) {
	for i := range out {
		d := &out[i]
		if d.Errno, err = c.refusal(d); err != nil {
			return n, err
		}
		if d.Errno == 0 {
			c.wire.Inject(c.local, d.Addr, slices.Concat(d.Head, d.Payload))
			n++
		}
	}
	return n, nil
}

func (c *WireConn) refusal(d *tunnel.Datagram) (syscall.Errno, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, os.ErrClosed
	case d.Len() > maxPayload, c.pathMTU != 0 && d.Len()+28 > c.pathMTU:
		return syscall.EMSGSIZE, nil
	case c.fault != nil:
		return c.fault(d), nil
	}
	return 0, nil
}

// LocalAddr implements tunnel.Conn.
func (c *WireConn) LocalAddr() netip.AddrPort { return c.local }

// Offloads implements tunnel.Conn.
func (c *WireConn) Offloads() tunnel.Offloads { return tunnel.Offloads{Batch: true} }

// Close implements tunnel.Conn. The address is free again.
func (c *WireConn) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.changed.Broadcast()
	c.mu.Unlock()
	if first {
		c.wire.mu.Lock()
		delete(c.wire.conns, c.local)
		c.wire.mu.Unlock()
	}
	return nil
}

var _ tunnel.Conn = (*WireConn)(nil)
