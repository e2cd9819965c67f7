package lease

import (
	"context"
	"log/slog"
	"time"
)

// saveEvery is the least time between two copies: a start of thousands of hosts changes the
// snapshot thousands of times.
const saveEvery = time.Second

// A Copier saves what the store says to disk whenever it changes. It is a task.
type Copier struct {
	Path      string
	Store     string // see Copy
	Snapshots *Mailbox[*Snapshot]
	Tenures   *Mailbox[Tenure]
	Log       *slog.Logger // nil: nothing is logged
}

// String names the task.
func (c *Copier) String() string { return "copying leases to disk" }

// Run saves until ctx ends, and returns the context's error; what is newest then is saved as well.
// A disk that fails is logged once, and tried again at the next change: forwarding needs no copy.
func (c *Copier) Run(ctx context.Context) error {
	log := orDiscard(c.Log)
	failing := false
	var snapshots, tenures uint64
	for {
		select {
		case <-c.Snapshots.Changed(snapshots):
		case <-c.Tenures.Changed(tenures):
		case <-ctx.Done():
		}
		s, seen := c.Snapshots.Latest()
		t, held := c.Tenures.Latest()
		// A tenure with an error is what the store does not say: it must not make the copy younger.
		news := seen != snapshots || held != tenures && t.Err == nil
		snapshots, tenures = seen, held
		// Without a config or a lease a restart could do nothing; what is there stays.
		fresh := news && s != nil && s.ConfigErr == nil && t.Held
		if fresh {
			err := SaveCopy(c.Path, Copy{Store: c.Store, Saved: time.Now(), Snapshot: s, Own: t.Lease})
			if err != nil && !failing {
				log.Warn("leases not saved; a restart would have to wait for the store", "err", err)
			}
			failing = err != nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if fresh {
			sleep(ctx, saveEvery)
		}
	}
}
