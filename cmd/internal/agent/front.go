package agent

import (
	"errors"
	"maps"
	"reflect"
	"sync"
	"sync/atomic"

	"weft/cmd/internal/admin"
	"weft/kernelmode/express"
)

// A front is the express lane of a TUN device over all that happens to it: laid, replaced by one of another shape,
// lifted. Sessions inherit it along with the device. lay, publish, lift and abandon are the follower's; the
// rest is for anyone.
type front struct {
	lanes lanes
	now   atomic.Pointer[laid] // nil while user space carries everything
	lost  chan laneFault       // one slot: why it can't stay

	detached atomic.Uint64 // how often somebody took its programs away
	mu       sync.Mutex
	past     express.Counters // of lanes whose counts went with them
}

// A laneFault is why a lane can't stay.
type laneFault struct {
	word string // fixed, for metrics
	why  error
}

// laid is a lane that packets go through.
type laid struct {
	lane
	config express.Config
}

func newFront(l lanes) *front { return &front{lanes: l, lost: make(chan laneFault, 1)} }

func (f *front) on() bool { return f.now.Load() != nil }

// lay puts a lane of that shape in front, in the place of whichever is there, an earlier agent's too: no packet
// finds a gap. After an error there may be half of one: lift.
func (f *front) lay(c express.Config, routes []express.Route) error {
	next, err := f.lanes.Open(c)
	if err != nil {
		return err
	}
	if err := next.Publish(routes); err != nil {
		return errors.Join(err, next.Close(false))
	}
	f.mu.Lock()
	before := f.now.Swap(&laid{next, c})
	if before != nil && before.Pinned() != nil {
		f.bury(before) // else the next one counts on from there
	}
	f.mu.Unlock()
	select {
	case <-f.lost: // what was wrong with the one before
	default:
	}
	if before != nil {
		return before.Close(false)
	}
	return nil
}

// publish makes the routes those of the lane, if there is one, and has it be of that shape.
func (f *front) publish(c express.Config, routes []express.Route) error {
	now := f.now.Load()
	switch {
	case now == nil:
		return nil
	case !reflect.DeepEqual(now.config, c):
		return f.lay(c, routes)
	}
	return now.Publish(routes)
}

// lift takes away what is laid on the device, whoever did it: user space carries everything from here on.
func (f *front) lift(device string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now.Swap(nil)
	if now == nil {
		return f.lanes.Detach(device)
	}
	f.bury(now)
	if err := now.Close(true); err != nil {
		return errors.Join(err, f.lanes.Detach(device))
	}
	return nil
}

// abandon leaves the lane to the kernel, which goes on with the routes that it has.
func (f *front) abandon() error {
	if now := f.now.Swap(nil); now != nil {
		return now.Close(false)
	}
	return nil
}

// bury keeps the counts of a lane that goes. Locked.
func (f *front) bury(l *laid) {
	if c, err := l.Counters(); err == nil {
		f.past = added(f.past, c)
	}
}

// counters are the sums over all lanes, an earlier agent's that was taken over included.
func (f *front) counters() express.Counters {
	f.mu.Lock()
	defer f.mu.Unlock()
	var c express.Counters
	if now := f.now.Load(); now != nil {
		c, _ = now.Counters() // unreadable counts are shown as none
	}
	return added(f.past, c)
}

func added(a, b express.Counters) express.Counters {
	sum := express.Counters{Drops: map[string]uint64{}, Passed: map[string]uint64{}}
	for _, c := range []express.Counters{a, b} {
		sum.Egress.Packets += c.Egress.Packets
		sum.Egress.Bytes += c.Egress.Bytes
		sum.Ingress.Packets += c.Ingress.Packets
		sum.Ingress.Bytes += c.Ingress.Bytes
		merge(sum.Drops, c.Drops)
		merge(sum.Passed, c.Passed)
	}
	return sum
}

// merge adds counts by name.
func merge(to, more map[string]uint64) {
	for name, n := range more {
		to[name] += n
	}
}

// describe adds what the lane carried and refused to what the forwarder did, and says what is the lane's own.
func (f *front) describe(state *admin.State) {
	now, c := f.now.Load(), f.counters()
	if now == nil && c.Egress.Packets+c.Ingress.Packets == 0 {
		return
	}
	state.Drops = maps.Clone(state.Drops)
	merge(state.Drops, c.Drops)
	carried := map[string]uint64{
		"egress_packets": c.Egress.Packets, "egress_bytes": c.Egress.Bytes,
		"ingress_packets": c.Ingress.Packets, "ingress_bytes": c.Ingress.Bytes,
	}
	merge(state.Traffic, carried)
	state.Lane = &admin.Lane{On: now != nil, Carried: carried, Passed: c.Passed, Detached: f.detached.Load()}
	if now != nil {
		state.Lane.Underlay = now.config.Underlay
		if err := now.Pinned(); err != nil {
			state.Lane.Unpinned = err.Error()
		}
		if d, ok := now.lane.(interface{ Detour() error }); ok && d.Detour() != nil {
			state.Lane.Cut = d.Detour().Error()
		}
	}
}

// lose says that the lane can't stay; the first reason counts.
func (f *front) lose(why laneFault) {
	select {
	case f.lost <- why:
	default:
	}
}
