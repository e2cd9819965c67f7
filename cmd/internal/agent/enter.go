package agent

import (
	"context"
	"errors"
	"time"

	"weft/lease"
)

// storePatience is how long a start with a copy on disk waits for the store. One that is there
// answers in a few milliseconds; the rest of the half second within which packets must flow without
// it is for opening the datapath.
const storePatience = 100 * time.Millisecond

// Why a member ends although nobody asked the agent to end: another one begins.
var (
	errForeignCopy = errors.New("the copy of the leases is another host's")
	errOutgrown    = errors.New("the network config in the store has no room for the lease of the copy")
)

// A beginning is what a member starts from.
type beginning struct {
	config lease.Config
	copied *lease.Copy // what the store said last; nil where the store itself has answered
}

// enter is flannel's start order: config, interface, then lease and forwarding for as long as the
// agent runs. With the store away, the copy on disk takes its place.
func (a *Agent) enter(ctx context.Context, store openedStore) error {
	where := a.options.Store
	if store.server != nil {
		where.Endpoints = store.server.Endpoints()
	}
	for mayCopy := true; ; mayCopy = false {
		start, err := a.begin(ctx, store, where, mayCopy)
		if err != nil {
			return err
		}
		err = a.belong(ctx, store, where, start)
		switch {
		case errors.Is(err, errForeignCopy):
			a.progress.copyIgnored(where.copyPath(a.options.StateDir), err)
		case errors.Is(err, errOutgrown):
			a.log.Warn("leasing another subnet: this start went by the copy on disk until the store answered", "why", err)
		default:
			return err
		}
	}
}

// begin finds out what network this is: from the store, if that answers within a moment, or from the
// copy; without a copy the store is waited for.
func (a *Agent) begin(ctx context.Context, store openedStore, where StoreOptions, mayCopy bool) (beginning, error) {
	var copied *lease.Copy
	if mayCopy {
		copied = a.recall(where)
	}
	if copied != nil {
		moment, cancel := context.WithTimeout(ctx, storePatience)
		defer cancel()
		config, err := store.Config(moment)
		if err == nil && a.options.follows(config) == nil {
			return beginning{config: config}, nil
		}
		if ctx.Err() != nil {
			return beginning{}, context.Cause(ctx)
		}
		return beginning{config: copied.Snapshot.Config, copied: copied}, nil
	}
	if err := store.ready(ctx); err != nil {
		return beginning{}, err
	}
	config, err := a.awaitConfig(ctx, store, where)
	return beginning{config: config}, err
}

// belong is one member's life.
func (a *Agent) belong(ctx context.Context, store lease.Store, where StoreOptions, start beginning) error {
	m, err := a.enroll(store, where, start)
	if err != nil {
		return err
	}
	defer m.close()
	a.progress.copied(start.copied)
	if start.copied != nil {
		a.log.Warn("the store doesn't answer: going by the copy of its leases", "saved", start.copied.Saved,
			"revision", start.copied.Snapshot.Revision, "subnet", start.copied.Own.Subnets(), "expiry", start.copied.Own.Expiry)
	}
	a.member.Store(m)
	defer a.member.Store(nil)
	return m.Run(ctx)
}
