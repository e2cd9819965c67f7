package leasetest

import (
	"context"
	"errors"
	"time"

	"weft/lease"
)

// Patient returns a store that tries again while s is unavailable, as agents do, so that the suite
// can run over servers that are being killed. Snapshots that a new watch repeats are left out.
func Patient(s lease.Store) lease.Store { return patient{s} }

type patient struct{ store lease.Store }

// retryEvery is how long a patient store waits.
const retryEvery = 20 * time.Millisecond

// retry calls f until it says something else than that the store is unavailable.
func retry[T any](ctx context.Context, f func() (T, error)) (T, error) {
	for {
		v, err := f()
		if !errors.Is(err, lease.ErrUnavailable) {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, context.Cause(ctx)
		case <-time.After(retryEvery):
		}
	}
}

func (p patient) Config(ctx context.Context) (lease.Config, error) {
	return retry(ctx, func() (lease.Config, error) { return p.store.Config(ctx) })
}

func (p patient) Acquire(ctx context.Context, r lease.Request) (lease.Lease, error) {
	return retry(ctx, func() (lease.Lease, error) { return p.store.Acquire(ctx, r) })
}

func (p patient) Renew(ctx context.Context, l lease.Lease) (lease.Lease, error) {
	return retry(ctx, func() (lease.Lease, error) { return p.store.Renew(ctx, l) })
}

func (p patient) Release(ctx context.Context, l lease.Lease) error {
	_, err := retry(ctx, func() (struct{}, error) { return struct{}{}, p.store.Release(ctx, l) })
	return err
}

func (p patient) Watch(ctx context.Context, yield func(*lease.Snapshot)) error {
	last := int64(-1)
	_, err := retry(ctx, func() (struct{}, error) {
		return struct{}{}, p.store.Watch(ctx, func(s *lease.Snapshot) {
			if s.Revision > last {
				last = s.Revision
				yield(s)
			}
		})
	})
	return err
}
