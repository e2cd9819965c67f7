package agent

import (
	"errors"

	"weft/cmd/internal/admin"
	"weft/lease"
)

// State tells what the agent is doing now. It may be called at any time, from any goroutine.
func (a *Agent) State() admin.State {
	state := a.progress.snapshot()
	if m := a.member.Load(); m != nil {
		m.describe(&state)
	}
	return state
}

// describe adds what the member knows of the store and the lease, and what its session knows.
func (m *member) describe(state *admin.State) {
	status := m.follower.Status()
	state.Store.Connected, state.Store.Seen, state.Store.Applied = status.Connected, status.Revision, status.Applied
	state.Store.Since = status.Since
	if status.Err != nil {
		state.Store.Error = status.Err.Error()
	}
	if c := state.Store.Copy; c != nil && c.Ignored == "" {
		// Until the store answers, what is followed is what the copy says.
		now := *c
		if now.InUse = m.seeded(); now.InUse && state.Store.Since.IsZero() {
			state.Store.Since = state.Started // the first attempt is still under way
		}
		state.Store.Copy = &now
	}
	t, _ := m.keeper.Tenures().Latest()
	if t.Held {
		state.Lease = leaseState(t)
	}
	s := m.session.Load()
	// Between a new lease and its session nothing flows under it yet.
	state.Ready = state.Ready && s != nil && t.Held && s.fabric.own.Subnets() == t.Lease.Subnets()
	if s != nil {
		s.current().describe(state)
		s.chosen.Load().describe(s.fabric.config, &state.Datapath)
		if state.Datapath.Kind == byLane && state.Lane == nil { // it is about to be laid
			state.Lane = &admin.Lane{Carried: map[string]uint64{}, Passed: map[string]uint64{}}
		}
		if s.reconciler != nil {
			if err := s.reconciler.Status().Err; err != nil {
				state.Datapath.Fault = err.Error()
			}
		}
	}
}

// seeded reports whether the latest snapshot still is that of the copy, which is always the first.
func (m *member) seeded() bool {
	_, version := m.follower.Snapshots().Latest()
	return version == 1
}

func leaseState(t lease.Tenure) *admin.Lease {
	l := &admin.Lease{Subnet: t.Lease.Subnet, Subnet6: t.Lease.Subnet6, Expiry: t.Lease.Expiry}
	// That the store is away is said where the store is.
	if t.Err != nil && !errors.Is(t.Err, lease.ErrUnavailable) {
		l.Problem = t.Err.Error()
	}
	return l
}
