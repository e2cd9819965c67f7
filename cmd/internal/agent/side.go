package agent

import (
	"context"
	"net/netip"
	"sync/atomic"

	"weft/lease"
)

// A side is the store as one host sees it while the network migrates: every config that comes out of
// it is this host's own (lease.Config.For). So nothing else here needs to know who has moved and who
// hasn't; a host that moves has got a new network config, and follows it like any other.
type side struct {
	lease.Store
	own atomic.Pointer[[]netip.Addr] // public addresses; nil before the underlay is chosen
}

// at tells it where this host is now, and returns the config in force as it is from there.
func (s *side) at(c lease.Config, addrs ...netip.Addr) lease.Config {
	s.own.Store(&addrs)
	return c.For(addrs...)
}

// Watch yields snapshots with this host's config.
func (s *side) Watch(ctx context.Context, yield func(*lease.Snapshot)) error {
	return s.Store.Watch(ctx, func(snapshot *lease.Snapshot) { yield(s.of(snapshot)) })
}

// of returns the snapshot with this host's config. A snapshot is shared and stays as it is.
func (s *side) of(snapshot *lease.Snapshot) *lease.Snapshot {
	own := s.own.Load()
	if own == nil || snapshot.ConfigErr != nil || snapshot.Config.Migration == nil {
		return snapshot
	}
	sided := *snapshot
	sided.Config = snapshot.Config.For(*own...)
	return &sided
}

// seen returns the copy on disk with this host's config; nil for nil.
func (s *side) seen(c *lease.Copy) *lease.Copy {
	if c == nil {
		return nil
	}
	sided := *c
	sided.Snapshot = s.of(c.Snapshot)
	return &sided
}

// Reachable asks the store (lease.Reacher). One that can't be asked counts as there: its Watch ends when
// it goes.
func (s *side) Reachable(ctx context.Context) error {
	if r, ok := s.Store.(lease.Reacher); ok {
		return r.Reachable(ctx)
	}
	return nil
}
