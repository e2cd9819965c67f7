package lease

import (
	"context"
	"math/rand/v2"
	"time"
)

// Waits between attempts at a store that fails. The first is short enough for a leader election to
// pass unnoticed. The longest keeps an idle host quiet, and still finds a store that returned
// within the two seconds that a fabric may take.
const (
	firstWait   = 100 * time.Millisecond
	longestWait = 2 * time.Second
)

// A backoff doubles the wait at every failure in a row. The wait is drawn between half of it and
// the whole, so that thousands of hosts that lost one store don't come back in step.
type backoff struct {
	failures int
	longest  time.Duration // 0: longestWait
}

func (b *backoff) reset() { b.failures = 0 }

func (b *backoff) next() time.Duration {
	wait := longestWait
	if b.longest != 0 {
		wait = b.longest
	}
	if b.failures < 16 { // a shift that can't overflow
		wait = min(wait, firstWait<<b.failures)
	}
	b.failures++
	return wait/2 + rand.N(wait/2)
}

// sleep waits for d, or until ctx ends: false then.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
