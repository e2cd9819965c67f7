package tunnel

import (
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
)

// FastConn is the Conn for Linux: recvmmsg and sendmmsg, UDP_SEGMENT over scatter lists, UDP_GRO.
type FastConn struct {
	gate     gate
	socket   udpCalls
	fd       int  // for Pollable
	noWait   bool // ReadBatch doesn't wait: set before the first one
	path     *pathSocket
	local    netip.AddrPort
	offloads atomic.Pointer[Offloads]
	lowered  atomic.Pointer[string] // why GSO went off at run time
	noRuns   atomic.Bool            // TurnOffRuns was called

	// Writing goroutine.
	runs   []Run
	limits RunLimits
	pauses int // taken in this batch, because a device queue was full
}

// udpCalls is what FastConn needs of the kernel. Tests put faults in between.
type udpCalls interface {
	// send sends one message for each run, in order, until one fails. sent counts messages; errno is
	// that of the first one not sent, 0 where the kernel keeps it to itself (a short count).
	send(out []Datagram, runs []Run) (sent int, errno syscall.Errno)
	// receive fills in with what is there, without waiting.
	receive(in []Datagram) (n int, errno syscall.Errno)
	// wait returns when it can be read, or written, or after wake.
	wait(write bool) syscall.Errno
	// wake makes this and every later wait return at once.
	wake()
	close() error
}

// newFastConn returns a conn over an open socket.
func newFastConn(local netip.AddrPort, socket udpCalls, offloads Offloads, segments int) *FastConn {
	c := &FastConn{socket: socket, local: local, limits: RunLimits{Segments: segments, Bytes: maxRunBytes}}
	if !offloads.GSO {
		c.limits.Segments = 1
	}
	c.offloads.Store(&offloads)
	return c
}

// LocalAddr implements Conn.
func (c *FastConn) LocalAddr() netip.AddrPort { return c.local }

// Offloads implements Conn.
func (c *FastConn) Offloads() Offloads { return *c.offloads.Load() }

// LoweredBy says which error took UDP_SEGMENT off at run time, or "" while nothing did. Safe to call
// from any goroutine.
func (c *FastConn) LoweredBy() string {
	if why := c.lowered.Load(); why != nil {
		return *why
	}
	return ""
}

// TurnOffRuns has this conn send every datagram singly from its next batch on. It is for what no send
// error shows: a kernel, or the host below a guest, that mangles runs (Linux 7.0 to 7.1.4), noticed as
// loss or malformed datagrams at a peer. why ends up in LoweredBy. Safe to call from any goroutine.
func (c *FastConn) TurnOffRuns(why string) {
	why = "UDP_SEGMENT off: " + why
	c.lowered.Store(&why)
	c.noRuns.Store(true)
}

// PathMTU returns the largest IP packet, in bytes, outer headers included, that the kernel at present
// believes the path to a peer takes. Safe to call from any goroutine; a few system calls.
func (c *FastConn) PathMTU(peer netip.AddrPort) (int, error) { return c.path.mtu(peer) }

// ReadBatch implements Conn.
func (c *FastConn) ReadBatch(in []Datagram) (n int, err error) {
	if err := c.gate.enter(); err != nil {
		return 0, err
	}
	defer c.gate.leave() // a batch, not a datagram
	in = in[:min(len(in), receiveMessages)]
	for {
		n, errno := c.socket.receive(in)
		switch {
		case n > 0:
			return n, nil
		case errno == syscall.EAGAIN && c.noWait:
			return 0, ErrWouldBlock
		case errno == syscall.EAGAIN:
			errno = c.socket.wait(false)
			if errno == syscall.ECANCELED {
				return 0, os.ErrClosed
			}
			if errno != 0 && errno != syscall.EINTR {
				return 0, fmt.Errorf("waiting for socket %v: %w", c.local, errno)
			}
		case errno != 0 && !aboutPeer(errno):
			return 0, fmt.Errorf("receiving on %v: %w", c.local, errno)
		}
	}
}

// FD implements Pollable.
func (c *FastConn) FD() int { return c.fd }

// SetNonblocking implements Pollable.
func (c *FastConn) SetNonblocking() { c.noWait = true }

// Close implements Conn.
func (c *FastConn) Close() error {
	if !c.gate.shut(c.socket.wake) {
		return nil
	}
	err := c.socket.close()
	if c.path != nil {
		err = firstError(err, c.path.close())
	}
	if err != nil {
		return fmt.Errorf("closing socket on %v: %w", c.local, err)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

var (
	_ Conn     = (*FastConn)(nil)
	_ Pollable = (*FastConn)(nil)
)
