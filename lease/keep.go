package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// A Keeper holds one lease for this host: it acquires it, renews it, notices when it is gone, and
// then acquires another. It is a task: Run does the work, everything else may be called any time.
type Keeper struct {
	store     Store
	log       *slog.Logger
	margin    time.Duration
	snapshots *Mailbox[*Snapshot]
	tenures   *Mailbox[Tenure]
	wake      chan struct{} // one slot: the request has changed

	mu      sync.Mutex
	request Request
	adopted Lease
}

// KeeperOptions is what a Keeper needs to know.
type KeeperOptions struct {
	Store   Store
	Request Request

	// Margin is how long before its expiry the lease is renewed. One that is longer than the lease
	// itself counts as half of what is left of it.
	Margin time.Duration

	// Snapshots, if set, shows a loss within a moment of its happening, not at the next renewal.
	Snapshots *Mailbox[*Snapshot]

	// Adopt, if it has a subnet and has not expired, is a lease of an earlier run that is held from
	// the start, while the store may be away. It is verified as soon as the store answers.
	Adopt Lease

	Log *slog.Logger // nil: nothing is logged
}

// A Tenure is what the Keeper has at the moment.
type Tenure struct {
	Lease Lease
	// Held: the lease was this host's when the store last answered. Beyond Lease.Expiry without an
	// answer nobody can know; the store may be away for as long as it likes, and then grants nothing.
	Held bool
	// Err is why there is no lease (ErrNoConfig, ErrExhausted, ErrLost, …) or, if Held, why it could
	// not be renewed. nil: all is well.
	Err error
}

// NewKeeper returns a task that keeps one lease.
func NewKeeper(o KeeperOptions) *Keeper {
	k := &Keeper{
		store: o.Store, request: o.Request, margin: o.Margin, snapshots: o.Snapshots,
		log: orDiscard(o.Log), tenures: NewMailbox[Tenure](), wake: make(chan struct{}, 1),
	}
	expired := !o.Adopt.Expiry.IsZero() && !time.Now().Before(o.Adopt.Expiry)
	if o.Adopt.Subnets() != (Subnets{}) && !expired {
		k.adopted = o.Adopt
	}
	if k.snapshots == nil {
		k.snapshots = NewMailbox[*Snapshot]()
	}
	return k
}

// String names the task.
func (k *Keeper) String() string { return "keeping the lease" }

// Tenures is where the present state is. Nothing is in it before the store's first answer, unless a
// lease was adopted.
func (k *Keeper) Tenures() *Mailbox[Tenure] { return k.tenures }

// SetAttrs changes what this host tells its peers. The record is rewritten at once if it is there.
func (k *Keeper) SetAttrs(a Attrs) {
	k.mu.Lock()
	k.request.Attrs = a
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default: // it will be read together with the change before
	}
}

// Release gives the lease back. It is for after Run has returned. nil if there is none.
func (k *Keeper) Release(ctx context.Context) error {
	t, _ := k.tenures.Latest()
	if !t.Held {
		return nil
	}
	return k.store.Release(ctx, t.Lease)
}

// Run keeps a lease until ctx ends, and returns the context's error; the lease stays in the store
// then, for the next start. No error of the store ends it.
func (k *Keeper) Run(ctx context.Context) error {
	l, verified := k.adopted, false
	// Two agents with one public address take the lease from each other; they must not do it as
	// fast as they can.
	losses := backoff{longest: time.Minute}
	for {
		if l.Subnets() == (Subnets{}) {
			var err error
			if l, err = k.acquire(ctx); err != nil {
				return err
			}
			verified = true
		}
		since := time.Now()
		if err := k.hold(ctx, l, verified); err != nil {
			return err
		}
		l = Lease{}
		if time.Since(since) > losses.longest {
			losses.reset()
		}
		if !sleep(ctx, losses.next()) {
			return context.Cause(ctx)
		}
	}
}

// acquire asks until there is a lease. The error is the context's.
func (k *Keeper) acquire(ctx context.Context) (Lease, error) {
	var wait backoff
	for told := ""; ; {
		l, err := k.store.Acquire(ctx, k.requested())
		if err == nil {
			k.log.Info("lease acquired", "subnet", l.Subnets(), "expiry", l.Expiry)
			return l, nil
		}
		if ctx.Err() != nil {
			return Lease{}, context.Cause(ctx)
		}
		if told != err.Error() {
			told = err.Error()
			k.log.Warn("no lease so far; still trying", "err", err)
			k.tenures.Put(Tenure{Err: err})
		}
		if !sleep(ctx, wait.next()) {
			return Lease{}, context.Cause(ctx)
		}
	}
}

// hold renews l until it is lost: nil then. Any error is the context's.
func (k *Keeper) hold(ctx context.Context, l Lease, verified bool) error {
	k.tenures.Put(Tenure{Lease: l, Held: true})
	var wait backoff
	var failing string // the message of the last failure, empty after a success
	due := k.untilRenewal(l)
	if !verified {
		due = 0
	}
	for seen := uint64(0); ; {
		var err error
		if seen, err = k.await(ctx, l, due, seen); err != nil {
			return err
		}
		asked := l
		asked.Attrs = k.requested().Attrs
		renewed, err := k.store.Renew(ctx, asked)
		switch {
		case err == nil:
			if failing != "" {
				k.log.Info("lease renewed after failures", "subnet", l.Subnets())
			}
			l, failing = renewed, ""
			wait.reset()
			due = k.untilRenewal(l)
			if err := k.judge(ctx, l); err != nil {
				k.lose(l, err)
				return nil
			}
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrLost):
			k.lose(l, err)
			return nil
		default:
			if failing != err.Error() {
				failing = err.Error()
				k.log.Warn("lease not renewed; still trying", "subnet", l.Subnets(),
					"expiry", l.Expiry, "err", err)
				k.tenures.Put(Tenure{Lease: l, Held: true, Err: err})
			}
			due = wait.next()
		}
	}
}

// judge publishes a renewed lease, with what its peers have against it if they have. One that stands
// back behind an older record, for the same subnet or of the same host, is given up, and ErrLost
// returned: containers in it would never be reached, and another subnet is to be had. Anything else
// is for a person to put right.
func (k *Keeper) judge(ctx context.Context, l Lease) error {
	p := k.refused(l)
	if p == nil {
		k.tenures.Put(Tenure{Lease: l, Held: true})
		return nil
	}
	refusal := fmt.Errorf("peers refuse lease %s (%s): %s", l.Subnets(), p.Reason, p.Detail)
	if p.Reason != Overlap && p.Reason != DuplicatePublicIP {
		k.log.Error("lease refused", "subnet", l.Subnets(), "err", refusal)
		k.tenures.Put(Tenure{Lease: l, Held: true, Err: refusal})
		return nil
	}
	if err := k.store.Release(ctx, l); err != nil {
		k.log.Warn("refused lease not released; it will expire", "subnet", l.Subnets(), "err", err)
	}
	return fmt.Errorf("%w: %w", ErrLost, refusal)
}

// lose tells everyone, and makes the lost subnet the first that is asked for again: it may have
// been deleted by mistake and still be free.
func (k *Keeper) lose(l Lease, err error) {
	k.log.Error("lease lost; acquiring another", "subnet", l.Subnets(), "err", err)
	k.mu.Lock()
	k.request.Previous, k.request.Previous6 = l.Subnet, l.Subnet6
	k.mu.Unlock()
	k.tenures.Put(Tenure{Lease: l, Err: err})
}

func (k *Keeper) requested() Request {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.request
}

// await returns when the lease must be renewed or verified: the time has come, the attributes have
// changed, or a snapshot doesn't show it as it should be.
func (k *Keeper) await(ctx context.Context, l Lease, due time.Duration, seen uint64) (uint64, error) {
	timer := time.NewTimer(due)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return seen, context.Cause(ctx)
		case <-timer.C:
			return seen, nil
		case <-k.wake:
			return seen, nil
		case <-k.snapshots.Changed(seen):
			var s *Snapshot
			s, seen = k.snapshots.Latest()
			// A snapshot is also the first sign that the store is back, or that peers have nothing
			// against the lease any more.
			now, _ := k.tenures.Latest()
			if s.Revision >= l.Revision && (now.Err != nil || !s.shows(l)) {
				return seen, nil
			}
		}
	}
}

// shows reports whether the snapshot has the lease as its holder knows it.
func (s *Snapshot) shows(l Lease) bool {
	return slices.ContainsFunc(s.Leases, func(other Lease) bool { return other.Token == l.Token })
}

// refused returns why everyone who follows the store leaves this lease out, though it still is its
// holder's; nil when they don't.
func (k *Keeper) refused(l Lease) *Problem {
	s, version := k.snapshots.Latest()
	if version == 0 || s.Revision < l.Revision {
		return nil
	}
	i := slices.IndexFunc(s.Problems, func(p Problem) bool { return p.Token == l.Token })
	if i < 0 {
		return nil
	}
	return &s.Problems[i]
}

// reservationCheck is how often a lease that never expires is verified all the same.
const reservationCheck = time.Hour

// untilRenewal returns how long to wait before renewing. A tenth of the margin is random, so that
// hosts which started together don't renew together for ever.
func (k *Keeper) untilRenewal(l Lease) time.Duration {
	if l.Expiry.IsZero() {
		return reservationCheck
	}
	left := time.Until(l.Expiry)
	wait := left - k.margin
	if wait <= 0 {
		return max(0, left/2)
	}
	return wait - min(wait/2, rand.N(k.margin/10+1))
}
