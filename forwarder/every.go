package forwarder

import (
	"context"
	"time"
)

// every does something at an interval until ctx ends; then it returns nil, for the group that Run waits for.
// One that takes longer than the interval leaves ticks out and never runs beside itself.
func every(ctx context.Context, interval time.Duration, do func(now time.Time)) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			do(now)
		}
	}
}
