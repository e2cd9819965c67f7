package agent

import (
	"weft/cmd/internal/admin"
)

// State tells what the agent is doing now. It may be called at any time, from any goroutine.
func (a *Agent) State() admin.State {
	state := a.progress.snapshot()
	m := a.member.Load()
	if m == nil {
		return state
	}
	status := m.follower.Status()
	state.Store.Connected, state.Store.Seen, state.Store.Applied = status.Connected, status.Revision, status.Applied
	if status.Err != nil {
		state.Store.Error = status.Err.Error()
	}
	t, _ := m.keeper.Tenures().Latest()
	if t.Held {
		state.Lease = &admin.Lease{Subnet: t.Lease.Subnet, Subnet6: t.Lease.Subnet6, Expiry: t.Lease.Expiry}
	}
	s := m.session.Load()
	// Between a new lease and its session nothing flows under it yet.
	state.Ready = state.Ready && s != nil && t.Held && s.fabric.own.Subnets() == t.Lease.Subnets()
	if s != nil {
		s.describe(&state)
	}
	return state
}

// describe adds what the session knows: its datapath, its peers and its counters.
func (s *session) describe(state *admin.State) {
	peers := []admin.Peer{}
	for subnet, hop := range s.live.Load().All() {
		mtu := hop.MTU()
		if mtu == 0 {
			mtu = s.fabric.mtu()
		}
		peers = append(peers, admin.Peer{Subnet: subnet, Outer: hop.Outer, MTU: mtu})
	}
	state.Peers = peers
	if s.datapath == nil {
		state.Datapath = admin.Datapath{Kind: "none", Why: "backend type alloc only hands out subnets"}
		return
	}
	state.Datapath = s.datapath.describe()
	state.Datapath.MTU = s.fabric.mtu()
	state.Traffic, state.Drops = s.datapath.counters()
}
