package etcd

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// errStorm: changes come so fast that they are better fetched together.
var errStorm = errors.New("many changes at once")

// etcd sends each change to each watch in a message of its own: when thousands of hosts start at once,
// that is millions of messages, and the hosts' own requests starve behind them. A watch that is opened
// at an earlier revision is sent all since then in one message. So in a storm a host keeps no watch
// open, and opens one every so often. What a change waits for it is at most longestCalm.
const (
	stormMessages = 10              // so many messages of changes, however many changes are in one,
	stormWithin   = 2 * time.Second // within this are a storm
	leastCalm     = 50 * time.Millisecond
	calmPerRecord = 5 * time.Millisecond // what a message costs all is as much as there are hosts
	longestCalm   = 4 * time.Second
)

// A storm tells whether there is one. The zero value is calm weather. It is for one goroutine.
type storm struct {
	times [stormMessages]time.Time // of the last messages, a ring
	next  int
	calms int // pauses in a row
}

// note takes in a message that came just now.
func (w *storm) note(now time.Time) {
	w.times[w.next] = now
	w.next = (w.next + 1) % stormMessages
}

// rages reports whether the last messages came too close together.
func (w *storm) rages(now time.Time) bool {
	oldest := w.times[w.next]
	return !oldest.IsZero() && now.Sub(oldest) < stormWithin
}

// pause is how long to leave the watch closed, in a network of so many records. It doubles while the
// storm goes on, and is drawn from its upper half, so that hosts don't come back in step.
func (w *storm) pause(records int) time.Duration {
	first := min(longestCalm, max(leastCalm, time.Duration(records)*calmPerRecord))
	longest := min(longestCalm, first<<min(w.calms, 8))
	w.calms++
	return longest/2 + rand.N(longest/2)
}

// over forgets the pauses.
func (w *storm) over() { w.calms = 0 }

// pause sleeps; the error is the context's.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
