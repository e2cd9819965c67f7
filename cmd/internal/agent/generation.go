package agent

import (
	"context"
	"sync"

	"weft/forwarder"
)

// A generation is one forwarder, over the device's queues and one set of sockets. When the sockets are
// to be others, it ends and the next one begins on the same queues: what comes meanwhile waits in the
// device and in the sockets that stay.
type generation struct {
	workers   []forwarder.Worker
	forwarder *forwarder.Forwarder
	retired   context.Context
	retire    context.CancelFunc
	done      chan struct{} // closed when it has ended
}

func newGeneration(c forwarder.Config) (*generation, error) {
	f, err := forwarder.New(c)
	if err != nil {
		return nil, err
	}
	g := &generation{workers: c.Workers, forwarder: f, done: make(chan struct{})}
	g.retired, g.retire = context.WithCancel(context.Background())
	return g, nil
}

// run forwards until ctx ends or the generation is retired, nil then.
func (g *generation) run(ctx context.Context) error {
	defer close(g.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(g.retired, cancel)()
	return g.forwarder.Run(ctx)
}

// A lineage is the generations of one device, one after the other. Run runs them; begin and end are for
// one goroutine at a time, beside it; the rest is for anyone.
type lineage struct {
	mu     sync.Mutex
	now    *generation // nil before the first begin
	past   forwarder.Counters
	active *generation // that Run is running; a later one may wait for it already
	ended  bool
}

// Run runs the present generation, and those that take its place, until ctx ends or the lineage does: nil
// then. It is called once.
func (l *lineage) Run(ctx context.Context) error {
	var err error
	for g := l.next(nil, false); g != nil; g = l.next(g, ctx.Err() != nil) {
		err = g.run(ctx)
	}
	return err
}

// next is the generation to run after one that has ended; nil: none, and no other will be run. One that
// nobody has put another into the place of has ended by itself.
func (l *lineage) next(after *generation, over bool) *generation {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = l.ended || over || l.now == after
	if l.active = l.now; l.ended {
		l.active = nil
	}
	return l.active
}

// alive reports whether a generation that begins now is run.
func (l *lineage) alive() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.ended
}

// begin puts the next generation, which open makes, into the place of the present one. Open is called when
// that one has ended, since both use the same queues.
func (l *lineage) begin(open func() (*generation, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Run waits for the lock until the next one is there.
	l.pause()
	next, err := open()
	if err != nil {
		return err // Run ends with the one that was stopped
	}
	l.now = next
	return nil
}

// runsOff lists the peers that runs don't arrive at.
func (l *lineage) runsOff() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == nil {
		return nil
	}
	return l.now.forwarder.Lowered()
}

// pause ends the present generation, and waits for that if it runs.
func (l *lineage) pause() {
	if l.now == nil {
		return
	}
	l.stop()
	l.past = summed(l.past, l.now.forwarder.Counters())
}

// end ends the present generation; there is no other after it.
func (l *lineage) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	if l.now != nil {
		l.stop()
	}
}

// stop retires the present generation. One that Run hasn't come to yet never begins: Run takes what is
// there when the one before has ended, and waits for the lock with that.
func (l *lineage) stop() {
	l.now.retire()
	if l.active == l.now {
		<-l.now.done
	}
}

// workers are those of the present generation, counters the sums over all.
func (l *lineage) workers() []forwarder.Worker {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now.workers
}

func (l *lineage) counters() forwarder.Counters {
	l.mu.Lock()
	defer l.mu.Unlock()
	return summed(l.past, l.now.forwarder.Counters())
}

// summed adds what status shows.
func summed(a, b forwarder.Counters) forwarder.Counters {
	sum := b
	sum.Egress.Packets += a.Egress.Packets
	sum.Egress.Bytes += a.Egress.Bytes
	sum.Ingress.Packets += a.Ingress.Packets
	sum.Ingress.Bytes += a.Ingress.Bytes
	sum.ICMPSent += a.ICMPSent
	sum.NeighbourAnswers += a.NeighbourAnswers
	for reason, n := range a.Drops {
		sum.Drops[reason] += n
	}
	return sum
}

// reusable reports whether queues outlive a generation: one that can be polled is woken, and any other has
// to be closed to end whoever waits in it.
func reusable(o Options) bool { return o.IO != "portable" && !o.Split }
