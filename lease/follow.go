package lease

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Follower keeps the latest snapshot of a store at hand, through any number of failures of that
// store. It is a task: Run does the work, everything else may be called at any time.
type Follower struct {
	store     Store
	log       *slog.Logger
	snapshots *Mailbox[*Snapshot]

	mu       sync.Mutex
	status   FollowStatus
	watching bool
}

// FollowStatus says how well a Follower knows the store.
type FollowStatus struct {
	Connected bool      // the store is being watched
	Since     time.Time // when Connected last changed; zero before the first answer
	Err       error     // why the store isn't watched; nil while it is
	Revision  int64     // of the latest snapshot
	Applied   int64     // what the consumer reported with Applied
}

// NewFollower returns a task that follows store. log may be nil: nothing is logged then.
func NewFollower(store Store, log *slog.Logger) *Follower {
	return &Follower{store: store, log: orDiscard(log), snapshots: NewMailbox[*Snapshot]()}
}

// String names the task.
func (f *Follower) String() string { return "following leases" }

// Snapshots is where the latest snapshot is. Its values are never nil.
func (f *Follower) Snapshots() *Mailbox[*Snapshot] { return f.snapshots }

// Seed puts a snapshot from elsewhere (the copy on disk) in place before the store answers. It does
// nothing once there is one.
func (f *Follower) Seed(s *Snapshot) {
	if _, version := f.snapshots.Latest(); version == 0 {
		f.put(s)
	}
}

// Applied is the consumer's report that it acts by the snapshot of this revision.
func (f *Follower) Applied(revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Applied = revision
}

// Status returns the present state.
func (f *Follower) Status() FollowStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// longestFollowWait leaves half a second of the two within which a change after an outage has to
// arrive for listing and applying.
const longestFollowWait = 1500 * time.Millisecond

// Run follows the store until ctx ends, and returns the context's error. No error of the store ends
// it: it waits and watches again, and the last snapshot stays good until a newer one comes.
func (f *Follower) Run(ctx context.Context) error {
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return f.watch(running) })
	if r, ok := f.store.(Reacher); ok {
		g.Go(func() error { return f.lookout(running, r) })
	}
	_ = g.Wait()
	return context.Cause(ctx)
}

func (f *Follower) watch(ctx context.Context) error {
	wait := backoff{longest: longestFollowWait}
	for {
		started := time.Now()
		err := f.store.Watch(ctx, func(s *Snapshot) {
			f.put(s)
			f.watches(true)
			f.connected(s.Revision)
		})
		f.watches(false)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		f.disconnected(err)
		// One that lists and then fails at once must not list ten times a second.
		if time.Since(started) > longestWait {
			wait.reset()
		}
		if !sleep(ctx, wait.next()) {
			return context.Cause(ctx)
		}
	}
}

// watches says whether a Watch is under way that has yielded.
func (f *Follower) watches(yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watching = yes
}

// put publishes a snapshot. It is not compared with the last one by revision: within one Watch
// revisions only rise, and a store that was restored from a backup starts lower and is right.
func (f *Follower) put(s *Snapshot) {
	f.mu.Lock()
	f.status.Revision = s.Revision
	f.mu.Unlock()
	f.snapshots.Put(s)
}

// connected and disconnected log only the change, not each attempt.
func (f *Follower) connected(revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status.Connected {
		return
	}
	f.status.Connected, f.status.Since, f.status.Err = true, time.Now(), nil
	f.log.Info("following the store", "revision", revision)
}

func (f *Follower) disconnected(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Err = err
	if f.status.Connected || f.status.Since.IsZero() {
		f.status.Connected, f.status.Since = false, time.Now()
		f.log.Warn("the store can't be followed; the last leases stay in force", "err", err)
	}
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
