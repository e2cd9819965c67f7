package tunnel

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
)

// Limits of one ReadBatch: a wake-up's worth. Larger batches fall out of the second-level cache
// between the copy in and the copy out.
const (
	readPackets = 64
	readBytes   = 512 << 10
	readSlot    = vnetHeaderLen + 65535 // a read must have room for the largest packet
)

// floodPackets small packets in a batch that isn't full mean that packets come as fast as they are read,
// in ever new small batches. Stepping aside once before the next read makes that one larger, so that each
// packet costs less of the core that its sender and receiver need too, and what is too much is lost in
// the device's ring, where it has cost the least. A core with nothing else to run returns at once.
const (
	floodPackets = 4
	floodBytes   = 512 // mean size up to which packets count as small
)

// FastQueue is the Queue for Linux with IFF_VNET_HDR: superpackets come out of the kernel and go
// into it whole, in one read or writev each, and their payload is never copied or summed here.
type FastQueue struct {
	gate      gate
	device    tunCalls
	fd        int  // for Pollable
	noWait    bool // ReadBatch doesn't wait: set before the first one
	name      string
	offloads  atomic.Pointer[Offloads]
	lowered   atomic.Pointer[string] // why a rung went off at run time
	malformed atomic.Uint64

	// Reading goroutine.
	buffer []byte // packets of one batch, one after the other
	flood  bool   // the last batch was one of a flood: see floodPackets
	yield  func() // lets other threads of this core run first

	// Writing goroutine.
	coalescer coalescer
	pieces    [][]byte
	segmenter *Segmenter
	segments  []Datagram
}

// tunCalls is what FastQueue needs of the kernel. Tests put faults in between.
type tunCalls interface {
	// read takes one packet with its virtio header, without waiting.
	read(b []byte) (n int, errno syscall.Errno)
	// write hands over one packet or superpacket, in pieces, the first beginning with the virtio header.
	write(pieces [][]byte) syscall.Errno
	// wait returns when there may be something to read, or after wake.
	wait() syscall.Errno
	// wake makes this and every later wait return at once.
	wake()
	close() error
}

// newFastQueue returns a queue over an open device.
func newFastQueue(name string, device tunCalls, offloads Offloads, limits coalesceLimits) *FastQueue {
	q := &FastQueue{
		device: device, name: name, buffer: make([]byte, readBytes+readSlot),
		yield:     func() {},
		coalescer: coalescer{limits: limits}, pieces: make([][]byte, 0, tcpSegments+1), segmenter: NewSegmenter(),
	}
	q.offloads.Store(&offloads)
	return q
}

// Name returns the device's name.
func (q *FastQueue) Name() string { return q.name }

// Offloads implements Queue.
func (q *FastQueue) Offloads() Offloads { return *q.offloads.Load() }

// LoweredBy says what took a rung off or lowered a limit at run time, the latest such thing, or "" while
// nothing did. Safe to call from any goroutine.
func (q *FastQueue) LoweredBy() string {
	if why := q.lowered.Load(); why != nil {
		return *why
	}
	return ""
}

// Malformed returns how many packets the kernel handed over with metadata that contradicts them.
// They are dropped. Safe to call from any goroutine.
func (q *FastQueue) Malformed() uint64 { return q.malformed.Load() }

// ReadBatch implements Queue: at most 64 packets or 512 KB.
func (q *FastQueue) ReadBatch(packets []Packet) (n int, err error) {
	if err := q.gate.enter(); err != nil {
		return 0, err
	}
	defer q.gate.leave() // a batch, not a packet
	if q.flood {
		q.yield()
	}
	for {
		n, errno := q.drain(packets[:min(len(packets), readPackets)])
		q.flood = isFlood(packets[:n])
		if n > 0 {
			return n, nil
		}
		if errno == syscall.EAGAIN && q.noWait {
			return 0, ErrWouldBlock
		}
		if errno != syscall.EAGAIN {
			return 0, fmt.Errorf("reading device %s: %w", q.name, deviceError(errno))
		}
		if errno := q.device.wait(); errno != 0 && errno != syscall.EINTR {
			return 0, fmt.Errorf("waiting for device %s: %w", q.name, deviceError(errno))
		}
	}
}

// isFlood looks at the packets of one batch.
func isFlood(batch []Packet) bool {
	if len(batch) < floodPackets || len(batch) >= readPackets {
		return false
	}
	bytes := 0
	for i := range batch {
		bytes += len(batch[i].Data)
	}
	return bytes <= len(batch)*floodBytes
}

// drain reads until nothing is there, without waiting. errno is why it stopped, 0 at a limit.
func (q *FastQueue) drain(packets []Packet) (n int, errno syscall.Errno) {
	rest := q.buffer
	for n < len(packets) && len(rest) >= readSlot {
		size, errno := q.device.read(rest)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return n, errno
		}
		p := &packets[n]
		if !decodePacket(p, rest[:size]) {
			q.malformed.Add(1)
			continue
		}
		n++
		// The next packet starts on a cache line.
		rest = rest[min((size+63)&^63, len(rest)):]
	}
	return n, 0
}

// decodePacket fills p from what one read returned.
func decodePacket(p *Packet, b []byte) (ok bool) {
	if len(b) < vnetHeaderLen {
		return false
	}
	p.Data = b[vnetHeaderLen:]
	if b[0] == 0 && b[1] == 0 { // neither flags nor GSO: the common small packet
		p.GSO = GSO{}
		return true
	}
	p.GSO, ok = decodeVnet(b).metadata(p.Data)
	return ok
}

// deviceError turns what the kernel says about a descriptor without device into the seam's words.
func deviceError(errno syscall.Errno) error {
	switch errno {
	case syscall.EBADF, errDetached:
		return errGone
	case syscall.ECANCELED: // woken by Close
		return os.ErrClosed
	}
	return errno
}

// errDetached is EBADFD, what TUN says once its device is deleted (drivers/net/tun.c); package
// syscall has it on Linux only.
const errDetached = syscall.Errno(77)

// FD implements Pollable.
func (q *FastQueue) FD() int { return q.fd }

// SetNonblocking implements Pollable.
func (q *FastQueue) SetNonblocking() { q.noWait = true }

// Close implements Queue.
func (q *FastQueue) Close() error {
	if !q.gate.shut(q.device.wake) {
		return nil
	}
	if err := q.device.close(); err != nil {
		return fmt.Errorf("closing device %s: %w", q.name, err)
	}
	return nil
}

var (
	_ Queue    = (*FastQueue)(nil)
	_ Pollable = (*FastQueue)(nil)
)
