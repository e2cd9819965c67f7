package tunnel

import (
	"fmt"
	"syscall"
)

// WriteBatch implements Queue.
func (q *FastQueue) WriteBatch(packets []Packet) (n int, err error) {
	if err := q.gate.enter(); err != nil {
		return 0, err
	}
	defer q.gate.leave()
	for _, w := range q.coalescer.plan(packets) {
		taken, errno := q.write(&w)
		n += taken
		if errno == errDetached || errno == syscall.EBADF {
			return n, fmt.Errorf("writing device %s: %w", q.name, deviceError(errno))
		}
	}
	return n, nil
}

// write hands one write to the kernel and returns how many of its packets were taken. errno is the
// last refusal.
func (q *FastQueue) write(w *write) (taken int, errno syscall.Errno) {
	first := &q.coalescer.packets[w.first]
	if w.count == 1 && !q.takesWhole(first) {
		return q.writeSegments(first)
	}
	q.pieces = append(q.pieces[:0], w.head)
	for i := w.first; i >= 0; i = q.coalescer.next[i] {
		q.pieces = append(q.pieces, q.coalescer.packets[i].Data[w.skip:])
	}
	errno = q.retry(q.pieces)
	switch {
	case errno == 0:
		return w.count, 0
	case errno != syscall.EINVAL:
		// EIO: the device is down. ENOMEM, ENOBUFS, EAGAIN: dropped, as any full link does.
		return 0, errno
	case w.count > 1:
		return q.writeSingly(w)
	case first.GSO.Kind != GSONone:
		taken, errno = q.writeSegments(first)
		if taken == 1 {
			q.stepDown(first.GSO.Kind)
		}
		return taken, errno
	}
	return 0, errno
}

// retry writes until a signal doesn't get in the way.
func (q *FastQueue) retry(pieces [][]byte) syscall.Errno {
	for {
		if errno := q.device.write(pieces); errno != syscall.EINTR {
			return errno
		}
	}
}

// takesWhole reports whether the device takes p as it is.
func (q *FastQueue) takesWhole(p *Packet) bool {
	switch p.GSO.Kind {
	case GSOTCP4, GSOTCP6:
		return q.coalescer.limits.tcp
	case GSOUDP:
		payload := len(p.Data) - int(p.GSO.HeaderLen)
		return q.coalescer.limits.udp && p.GSO.PartialChecksum &&
			payload <= int(p.GSO.SegmentSize)*q.coalescer.limits.udpSegments
	}
	return true
}

// writeSegments cuts a superpacket that the device doesn't take and writes the segments. taken is 1
// when the kernel took all of them: the caller counts packets as given.
func (q *FastQueue) writeSegments(p *Packet) (taken int, errno syscall.Errno) {
	q.segmenter.Reset()
	var err error
	q.segments, err = q.segmenter.Append(q.segments[:0], p, Cut{})
	if err != nil {
		return 0, syscall.EINVAL
	}
	taken = 1
	for i := range q.segments {
		q.pieces = append(q.pieces[:0], plainVnet[:], q.segments[i].Head, q.segments[i].Payload)
		if e := q.retry(q.pieces); e != 0 {
			taken, errno = 0, e
		}
	}
	return taken, errno
}

// plainVnet is the header of a packet that needs nothing.
var plainVnet [vnetHeaderLen]byte

// writeSingly writes the packets of a refused superpacket one by one, so that nothing is lost, and
// learns from it: when the kernel takes each of them, it was the superpacket it didn't like.
func (q *FastQueue) writeSingly(w *write) (taken int, errno syscall.Errno) {
	var head [vnetHeaderLen]byte
	for i := w.first; i >= 0; i = q.coalescer.next[i] {
		p := &q.coalescer.packets[i]
		vnetFor(p.GSO).encode(head[:])
		q.pieces = append(q.pieces[:0], head[:], p.Data)
		if e := q.retry(q.pieces); e != 0 {
			errno = e
			continue
		}
		taken++
	}
	if errno == 0 {
		q.learn(w)
	}
	return taken, errno
}

// learn takes off the rung that a refused superpacket stood on, the lowest that explains it: first
// the short tail that 6.6.44 and its like refuse, then UDP of more than 64 segments (before 6.9),
// then the whole kind.
func (q *FastQueue) learn(w *write) {
	limits := &q.coalescer.limits
	last, first := &q.coalescer.packets[w.last], &q.coalescer.packets[w.first]
	h, _ := parseHeaders(first.Data)
	tail := len(last.Data) - h.all
	switch {
	case !limits.longTail && len(last.Data) < len(first.Data) && tail <= int(checksumField(h.protocol))+2:
		limits.longTail = true
		q.say("superpackets with a short last segment are refused (EINVAL): such a segment goes in on its own")
	case h.protocol == protocolUDP && w.count > udpSegmentsOld:
		limits.udpSegments = udpSegmentsOld
		q.say("UDP superpackets of more than 64 segments are refused (EINVAL): 64 at most")
	case h.protocol == protocolUDP:
		q.stepDown(GSOUDP)
	default:
		q.stepDown(GSOTCP4)
	}
}

// Segments of one UDP superpacket that a TUN takes: UDP_MAX_SEGMENTS (include/linux/udp.h).
const (
	udpSegmentsOld = 64  // before Linux 6.9
	udpSegmentsNew = 128 // since
)

// stepDown takes one rung off for good.
func (q *FastQueue) stepDown(kind GSOKind) {
	offloads := q.Offloads()
	if kind == GSOUDP {
		offloads.USO, q.coalescer.limits.udp = false, false
		q.say("USO off: UDP superpackets are refused (EINVAL)")
	} else {
		offloads.TSO, q.coalescer.limits.tcp = false, false
		q.say("TSO off: TCP superpackets are refused (EINVAL)")
	}
	q.offloads.Store(&offloads)
}

func (q *FastQueue) say(why string) { q.lowered.Store(&why) }
