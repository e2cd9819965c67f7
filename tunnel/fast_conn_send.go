package tunnel

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// WriteBatch implements Conn.
func (c *FastConn) WriteBatch(out []Datagram) (n int, err error) {
	if err := c.gate.enter(); err != nil {
		return 0, err
	}
	defer c.gate.leave()
	c.pauses = 0
	if c.noRuns.Load() && c.limits.Segments > 1 {
		c.runsOff()
	}
	// A rung that goes off changes how the rest falls into runs: plan that again.
	for first := 0; first < len(out); {
		c.runs = PlanRuns(c.runs[:0], out[first:], c.limits)
		done, sent, err := c.sendRuns(out[first:], c.runs)
		first, n = first+done, n+sent
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// sendRuns sends until all runs are dealt with or the limits changed. done counts datagrams dealt
// with, whose Errno is set; sent those the kernel took.
func (c *FastConn) sendRuns(out []Datagram, runs []Run) (done, sent int, err error) {
	limits, tries := c.limits, 0
	for len(runs) > 0 && c.limits == limits {
		n, errno := c.socket.send(out, runs)
		if n > 0 {
			count := runs[n-1].First + runs[n-1].Count - runs[0].First
			mark(out[runs[0].First:][:count], 0)
			done, sent, runs, tries = done+count, sent+count, runs[n:], 0
			continue
		}
		run := runs[0]
		switch c.judge(errno, run, tries) {
		case again:
			tries++
		case closed:
			return done, sent, os.ErrClosed
		case replan:
			// The loop ends, since the limits are lower now.
		case singly:
			taken, err := c.sendSingly(out[run.First:][:run.Count])
			done, sent, runs, tries = done+run.Count, sent+taken, runs[1:], 0
			if err != nil {
				return done, sent, err
			}
		case refused:
			mark(out[run.First:][:run.Count], errno)
			done, runs, tries = done+run.Count, runs[1:], 0
		}
	}
	return done, sent, nil
}

// sendSingly sends the datagrams of one run as messages of their own.
func (c *FastConn) sendSingly(out []Datagram) (sent int, err error) {
	tries := 0
	for i := 0; i < len(out); {
		one := [1]Run{{First: i, Count: 1, SegmentSize: out[i].Len()}}
		n, errno := c.socket.send(out, one[:])
		if n == 0 {
			switch c.judge(errno, one[0], tries) {
			case again:
				tries++
				continue
			case closed:
				return sent, os.ErrClosed
			}
		}
		out[i].Errno = errno
		if n > 0 {
			out[i].Errno = 0
		}
		i, sent, tries = i+1, sent+n, 0
	}
	return sent, nil
}

func mark(out []Datagram, errno syscall.Errno) {
	for i := range out {
		out[i].Errno = errno
	}
}

// A verdict is what to do about a message that the kernel refused.
type verdict int

const (
	again   verdict = iota // send it once more
	replan                 // the limits were lowered: plan runs anew
	singly                 // send the datagrams of this run one by one
	refused                // these datagrams are lost, and the caller learns why
	closed
)

// Pauses of one batch, all its messages together: a full device queue drains in tens of microseconds, and
// one that doesn't must not hold up the other direction.
const (
	sendPauses = 8
	sendPause  = 50 * time.Microsecond
)

// judge is the error table: one place decides for every error what it means for run. tries counts
// how often this message has been sent already.
func (c *FastConn) judge(errno syscall.Errno, run Run, tries int) verdict {
	switch errno {
	case 0, syscall.EINTR:
		return again
	case syscall.EAGAIN: // the socket's own buffer is full: the kernel says when there is room
		if e := c.socket.wait(true); e == syscall.ECANCELED {
			return closed
		}
		return again
	case syscall.EBADF, syscall.ENOTSOCK:
		return closed
	case syscall.ENOBUFS, syscall.ENOMEM: // the device's queue is full
		if c.pauses < sendPauses {
			c.pauses++
			time.Sleep(sendPause)
			return again
		}
	case syscall.ECONNREFUSED: // an ICMP in answer to an earlier datagram, off the socket now; this one wasn't sent
		if tries == 0 {
			return again
		}
	case syscall.EIO, syscall.EOPNOTSUPP:
		// No checksum offload on the way out (up to Linux 6.10), or IPsec on it: no run will pass.
		if run.Count > 1 {
			c.stepDown(errno)
			return replan
		}
	case syscall.EINVAL, syscall.EMSGSIZE:
		return c.judgeSize(run)
	}
	return refused
}

// judgeSize handles the two errors that mean either "too many segments" or "over the path MTU"
// (EINVAL for both before Linux 6.14). Sending singly tells them apart: a datagram over the MTU is
// refused alone too, and its EMSGSIZE tells the caller to lower the hop's MTU.
func (c *FastConn) judgeSize(run Run) verdict {
	if run.Count > runSegmentsOld {
		c.limits.Segments = runSegmentsOld
		return replan
	}
	if run.Count > 1 {
		return singly
	}
	return refused
}

// stepDown takes UDP_SEGMENT off this conn for good.
func (c *FastConn) stepDown(errno syscall.Errno) {
	why := fmt.Sprintf("UDP_SEGMENT off: sending a run failed: %v", errno)
	c.lowered.Store(&why)
	c.runsOff()
}

// runsOff is for the writing goroutine, which owns the limits.
func (c *FastConn) runsOff() {
	offloads := c.Offloads()
	offloads.GSO = false
	c.offloads.Store(&offloads)
	c.limits.Segments = 1
}
