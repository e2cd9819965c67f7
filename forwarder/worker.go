package forwarder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"weft/tunnel"
)

// A worker is both directions of one queue. Where all of its descriptors can be polled, one thread
// serves them all; else each direction has a thread that waits in its own read.
//
// One thread is faster where cores are few: TCP's acknowledgements travel the other direction, and
// with two threads each of them costs a wake-up and a context switch.
type worker struct {
	name    string
	egress  *egress
	ingress []*ingress
	shared  []tunnel.Pollable // what one thread polls; nil: one thread a direction
	poll    *poller           // while running, if shared
}

// newWorker prepares the directions of w and decides how they are served.
func newWorker(f *Forwarder, c *Config, i int) *worker {
	spec := c.Workers[i]
	device := &sharedQueue{Queue: spec.Queue}
	w := &worker{name: fmt.Sprintf("worker %d", i), egress: newEgress(f, c, spec, device)}
	for _, l := range w.egress.lanes.all {
		w.ingress = append(w.ingress, newIngress(f, c, l, device))
	}
	if all, ok := pollables(spec); ok && !c.SplitDirections {
		for _, p := range all {
			p.SetNonblocking()
		}
		w.shared = all
	}
	return w
}

// pollables returns the conns of a worker and, last, its queue, if all of them can be polled.
func pollables(w Worker) (all []tunnel.Pollable, ok bool) {
	for _, conn := range w.conns() {
		p, ok := conn.(tunnel.Pollable)
		if !ok {
			return nil, false
		}
		all = append(all, p)
	}
	p, ok := w.Queue.(tunnel.Pollable)
	return append(all, p), ok
}

// directions returns what is to be run, each on a thread of its own.
func (w *worker) directions() map[string]func(context.Context) error {
	if w.shared != nil {
		return map[string]func(context.Context) error{w.name: w.both}
	}
	runs := map[string]func(context.Context) error{"egress of " + w.name: w.egress.run}
	for _, in := range w.ingress {
		runs[fmt.Sprintf("ingress of %s on %v", w.name, in.conn.LocalAddr())] = in.run
	}
	return runs
}

// open prepares waiting, and close undoes it.
func (w *worker) open() (err error) {
	if w.shared != nil {
		w.poll, err = newPoller(w.shared)
	}
	return err
}

func (w *worker) close() {
	if w.poll != nil {
		w.poll.close()
	}
}

// both serves all directions in turn until none has anything ready, then waits for any. It begins with
// the wire: what comes in frees senders that wait for acknowledgements.
func (w *worker) both(ctx context.Context) error {
	patience := newPatience()
	for ctx.Err() == nil {
		idle := true
		for _, in := range w.ingress {
			busy, err := progress(in.batch())
			if err != nil {
				return err
			}
			idle = idle && !busy
		}
		busy, err := progress(w.egress.batch())
		if err != nil {
			return err
		}
		switch {
		case !idle || busy:
			patience.found()
		case patience.lasts():
			yieldCore()
		default:
			start := time.Now()
			if err := w.poll.wait(); err != nil {
				return err
			}
			patience.slept(time.Since(start), w.moved())
		}
	}
	return os.ErrClosed
}

// moved returns the bytes that the worker has moved so far, in both directions.
func (w *worker) moved() uint64 {
	sum := w.egress.tally.shared.bytes.Load()
	for _, in := range w.ingress {
		sum += in.tally.shared.bytes.Load()
	}
	return sum
}

// progress tells a batch that found nothing from one that did something and from one that failed.
func progress(err error) (busy bool, failed error) {
	if errors.Is(err, tunnel.ErrWouldBlock) {
		return false, nil
	}
	return err == nil, err
}

// onThread runs one direction on a thread of its own, so that its system calls keep their core's
// caches. That a direction ends is only an error while the forwarder should be forwarding.
func onThread(ctx context.Context, name string, run func(context.Context) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := run(ctx)
	if ctx.Err() != nil && errors.Is(err, os.ErrClosed) {
		return nil
	}
	return fmt.Errorf("forwarding, %s: %w", name, err)
}
