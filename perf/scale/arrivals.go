package scale

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Arrivals are who applied what, when: the last revision that each agent applied, and the time of it.
// Each agent writes its own entry; anybody may read.
type arrivals []arrival

type arrival struct {
	at       atomic.Int64 // Unix time, ns; written before the revision
	revision atomic.Int64
	applied  atomic.Int64 // how many snapshots
}

// note is the agent's report. Revisions of one agent only rise within a start.
func (a *arrival) note(revision int64) {
	a.at.Store(time.Now().UnixNano())
	a.revision.Store(revision)
	a.applied.Add(1)
}

// behind counts the agents that haven't applied the revision.
func (all arrivals) behind(revision int64) int {
	n := 0
	for i := range all {
		if all[i].revision.Load() < revision {
			n++
		}
	}
	return n
}

// last is when the latest of them applied what it has.
func (all arrivals) last() time.Time {
	var last int64
	for i := range all {
		last = max(last, all[i].at.Load())
	}
	return time.Unix(0, last)
}

// pollEvery is how often a wait looks: short beside the times that are measured, which don't depend
// on it, and long beside a look, which takes microseconds.
const pollEvery = 2 * time.Millisecond

// poll waits until done returns true, and tells how it goes every few seconds. The error says what
// was waited for when ctx ends or the limit is over.
func poll(ctx context.Context, o Options, what string, done func() bool, progress func() string) error {
	limit := time.NewTimer(o.Limit)
	defer limit.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	said := time.Now()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limit.C:
			return fmt.Errorf("%s: not done after %v: %s: give it more time with --limit, or fewer hosts", what, o.Limit, progress())
		}
		if time.Since(said) > 2*time.Second {
			said = time.Now()
			o.say("  %s: %s", what, progress())
		}
	}
	return nil
}
