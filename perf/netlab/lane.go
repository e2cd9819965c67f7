package netlab

import (
	"container/heap"
	"context"
	"io"
	"sync/atomic"
	"time"
)

// maxFrame is the largest frame with its virtio_net_hdr that a device of MaxMTU carries.
const maxFrame = 10 + 14 + 65535

// laneRoom is how many packets one direction may hold: 2 s at 15 Mb/s, 100 ms at 300 Mb/s.
const laneRoom = 25_000

// lane carries one direction of an impaired link: read asks the model for each packet's fate,
// deliver waits until it is due.
type lane struct {
	from       io.Reader
	to         io.Writer
	direction  uint64
	impairment atomic.Pointer[Impairment]
	arrivals   chan delivery
	counts     counters
}

func newLane(from io.Reader, to io.Writer, direction uint64) *lane {
	return &lane{from: from, to: to, direction: direction, arrivals: make(chan delivery, 256)}
}

// A delivery is one copy of a packet and when it is due. Copies of one packet share the frame.
type delivery struct {
	frame []byte
	due   time.Time
	order uint64 // breaks ties, so that packets due together keep their order
}

// read takes packets until the source is closed or ctx ends.
func (l *lane) read(ctx context.Context) error {
	var (
		buffer = make([]byte, maxFrame)
		using  *Impairment
		fates  *model
		order  uint64
	)
	for {
		n, err := l.from.Read(buffer)
		if err != nil {
			return err
		}
		// A new impairment starts its random numbers anew, so that it decides the same each time.
		if now := l.impairment.Load(); now != using {
			using, fates = now, newModel(*now, l.direction)
		}
		// Copied only when it goes on: at 100 % loss the lane costs nothing but the read.
		f := fates.next(time.Now())
		l.count(f)
		if f.copies == 0 {
			continue
		}
		frame := append([]byte(nil), buffer[:n]...)
		for _, due := range f.due[:f.copies] {
			order++
			select {
			case l.arrivals <- delivery{frame, due, order}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// count books the decision; delivered is booked by write, when it has come true.
func (l *lane) count(f fate) {
	switch {
	case f.copies == 0:
		l.counts.lost.Add(1)
	case f.copies == 2:
		l.counts.duplicated.Add(1)
	}
	if f.reordered {
		l.counts.reordered.Add(1)
	}
}

// deliver writes each packet when it is due, until ctx ends.
func (l *lane) deliver(ctx context.Context) error {
	// One timer for the packet that is due first. A packet that is due at once still goes through
	// the queue, or it would overtake an earlier one that isn't.
	var waiting queue
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		for len(waiting) > 0 && !waiting[0].due.After(time.Now()) {
			l.write(heap.Pop(&waiting).(delivery).frame)
		}
		if len(waiting) > 0 {
			timer.Reset(time.Until(waiting[0].due))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case d := <-l.arrivals:
			// A full queue drops the newest, as a router's does.
			if len(waiting) == laneRoom {
				l.counts.overflowed.Add(1)
				continue
			}
			heap.Push(&waiting, d)
		}
	}
}

// write hands one frame on. A refused one is lost, as on a link: the device may be down, its MTU
// may have shrunk, or its queue may be full.
func (l *lane) write(frame []byte) {
	if _, err := l.to.Write(frame); err != nil {
		l.counts.overflowed.Add(1)
		return
	}
	l.counts.delivered.Add(1)
}

// queue is a heap of deliveries (container/heap), the one due first on top.
type queue []delivery

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].due.Equal(q[j].due) {
		return q[i].order < q[j].order
	}
	return q[i].due.Before(q[j].due)
}

// Swap, Push and Pop are what container/heap asks for.
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(delivery)) }
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = delivery{}
	*q = old[:len(old)-1]
	return last
}
