package kernelmode

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// settle is how long events are collected before the kernel is read: one `ip link del` makes a
	// dozen. It is well under the second within which everything has to be back.
	settle = 50 * time.Millisecond
	// firstBackoff and lastBackoff bound the wait after an Apply that failed; it doubles in between.
	firstBackoff = 200 * time.Millisecond
	lastBackoff  = 15 * time.Second
	// defaultRecheck is the wait between two looks when no event says that one is needed.
	defaultRecheck = 30 * time.Second
)

// ReconcilerOptions are all optional.
type ReconcilerOptions struct {
	Log *slog.Logger // nil: slog.Default()

	// Recheck is the longest time between two looks at the kernel; 0: 30 s.
	Recheck time.Duration

	// OnMissing is called, by Run's own goroutine, once each time that a device which its owner has
	// to open turns out to be gone; again only after it has been back. It must not block.
	OnMissing func(device string)

	// OnApplied is called, by Run's own goroutine, after every Apply that carried out operations, was
	// the first of its revision, or ended with another error than the one before. It must not block.
	OnApplied func(Status)
}

// Status is the outcome of the latest Apply.
type Status struct {
	// Installed is what is there of the wanted State, as read back; its Revision is the wanted one's.
	Installed State
	// Err is nil when all of it is there. errors.As finds *OpError and *MissingLinkError in it.
	Err error
	// At is when the kernel was last looked at; zero before the first time.
	At time.Time
	// Repairs counts how often something was missing or changed that had been installed before.
	Repairs int
}

// A Reconciler keeps the kernel at the State that was wanted last. It is level-triggered: only the
// newest State counts, and every look compares all of it.
type Reconciler struct {
	kernel  Kernel
	options ReconcilerOptions
	changed chan struct{} // one token: look at the kernel again
	wanted  chan struct{} // one token: there is a new State

	mu     sync.Mutex
	want   *wish // nil before the first Want
	status Status
}

// A wish is a wanted State with what is derived from it once, since events come by the thousand.
type wish struct {
	State
	interest
	settled bool // it has been installed completely before; only Run's goroutine touches this
}

// NewReconciler returns a Reconciler that touches nothing before Run and the first Want.
func NewReconciler(k Kernel, o ReconcilerOptions) *Reconciler {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Recheck <= 0 {
		o.Recheck = defaultRecheck
	}
	return &Reconciler{
		kernel: k, options: o,
		changed: make(chan struct{}, 1), wanted: make(chan struct{}, 1),
	}
}

// Want replaces the wanted State. It returns at once; States that are replaced before Run gets to
// them are never applied. Safe from any goroutine, before and during Run.
func (r *Reconciler) Want(s State) {
	w := &wish{State: s, interest: interestOf(ScopeOf(s))}
	r.mu.Lock()
	r.want = w
	r.mu.Unlock()
	select {
	case r.wanted <- struct{}{}:
	default:
	}
}

// Status returns the outcome of the latest Apply.
func (r *Reconciler) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Run applies and repairs until ctx ends, and then returns nil. Nothing is removed on the way out:
// give it an empty State that owns what should go, and wait for its Status, where that is wanted.
func (r *Reconciler) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return listen(ctx, r.kernel, r.concerns, r.changed, r.deaf) })
	g.Go(func() error { return r.loop(ctx) })
	return unlessEnded(g.Wait())
}

// unlessEnded drops the error that says no more than that the context ended.
func unlessEnded(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// concerns filters events, so that a busy routing table doesn't keep the reconciler reading.
func (r *Reconciler) concerns(e Event) bool {
	w := r.latest()
	return w != nil && w.concerns(e)
}

// deaf says that changes are only noticed by the periodic look until the next Watch.
func (r *Reconciler) deaf(err error) {
	r.options.Log.Warn("kernel events were interrupted; listening again", "error", err)
}

func (r *Reconciler) latest() *wish {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.want
}

// loop looks at the kernel when told to: a new State at once, an event after others have joined it, a
// failure after a growing pause, and now and then in any case.
func (r *Reconciler) loop(ctx context.Context) error {
	missing := map[string]bool{}
	backoff := firstBackoff
	for {
		wait := r.options.Recheck
		if w := r.latest(); w != nil {
			if err := r.apply(w, missing); err != nil {
				wait = min(jitter(backoff), wait)
				backoff = min(2*backoff, lastBackoff)
			} else {
				backoff = firstBackoff
			}
		}
		if r.await(ctx, wait) {
			backoff = firstBackoff
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// await returns when it is time to look, and reports whether that is for a new State. Events that come
// while it collects them don't keep a new State waiting.
func (r *Reconciler) await(ctx context.Context, wait time.Duration) (wished bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	changed := r.changed
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return false
		case <-r.wanted:
			return true
		case <-changed:
			changed = nil // events from here on leave a token: one look too many at worst
			timer.Reset(settle)
		}
	}
}

// apply looks once, publishes the outcome and tells of what changed in it.
func (r *Reconciler) apply(w *wish, missing map[string]bool) error {
	before := r.Status()
	installed, done, err := apply(r.kernel, w.State)
	now := Status{Installed: installed, Err: err, At: time.Now(), Repairs: before.Repairs}
	if done > 0 && w.settled {
		now.Repairs++
		r.options.Log.Info("kernel state was changed by another program; put back", "operations", done)
	}
	w.settled = w.settled || err == nil
	r.mu.Lock()
	r.status = now
	r.mu.Unlock()
	r.tellMissing(err, missing)
	if text(err) != text(before.Err) {
		r.tellError(w, err)
	}
	first := before.At.IsZero() || before.Installed.Revision != w.Revision
	if r.options.OnApplied != nil && (first || done > 0 || text(err) != text(before.Err)) {
		r.options.OnApplied(now)
	}
	return err
}

func (r *Reconciler) tellError(w *wish, err error) {
	if err != nil {
		r.options.Log.Warn("kernel state is not what it should be", "revision", w.Revision, "error", err)
		return
	}
	r.options.Log.Info("kernel state is as it should be again", "revision", w.Revision)
}

// tellMissing calls OnMissing for devices that weren't known to be gone, and remembers them.
func (r *Reconciler) tellMissing(err error, known map[string]bool) {
	now := MissingDevices(err)
	for _, name := range now {
		if !known[name] && r.options.OnMissing != nil {
			r.options.OnMissing(name)
		}
	}
	clear(known)
	for _, name := range now {
		known[name] = true
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// jitter spreads waits by a quarter, so that hosts that fail together don't try together.
func jitter(d time.Duration) time.Duration {
	return d - d/8 + rand.N(d/4)
}
