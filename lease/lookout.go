package lease

import (
	"context"
	"time"
)

// Reacher is what a Store is besides, if its Watch goes on by itself when the connection breaks: it
// says why the store can't be reached now, without asking anything of it. nil: it can.
type Reacher interface {
	Reachable(ctx context.Context) error
}

// lookEvery is how often a Follower looks at the connection. Two bad looks in a row make an outage: a
// connection that is made anew, to another endpoint say, is none.
const lookEvery = time.Second

// lookout tells an outage that the watch sits through. It returns the context's error.
func (f *Follower) lookout(ctx context.Context, r Reacher) error {
	for bad := 0; sleep(ctx, lookEvery); {
		err := r.Reachable(ctx)
		if bad++; err == nil {
			bad = 0
		}
		f.mu.Lock()
		watching, revision := f.watching, f.status.Revision
		f.mu.Unlock()
		switch {
		case !watching || ctx.Err() != nil: // what Watch returned says more
		case bad == 0:
			f.connected(revision)
		case bad > 1:
			f.disconnected(err)
		}
	}
	return context.Cause(ctx)
}
