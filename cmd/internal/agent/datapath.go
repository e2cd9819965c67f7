package agent

import (
	"weft/cmd/internal/admin"
	"weft/kernelmode"
	"weft/lease"
)

// A datapath moves the packets of one session: from when it is open, and the kernel is as its plan says,
// until close. follow is called by one goroutine; plan after a follow; describe by anyone at any time.
type datapath interface {
	// follow makes the peers of a snapshot reachable, and no other. It returns how many routes changed.
	follow(*lease.Snapshot) (changed int, err error)

	// plan is the kernel state that it needs at present. The session keeps the kernel at it.
	plan() kernelmode.State

	// describe fills in the datapath, its peers and its counters.
	describe(*admin.State)

	// close gives everything back but what is to outlive the agent. It may be called more than once.
	close()
}

// openDatapath opens the one that was chosen, for the peers of a snapshot. What else can carry packets is
// told apart here.
func (s *session) openDatapath(c choice, snapshot *lease.Snapshot) (datapath, error) {
	switch c.kind {
	case inKernel:
		s.disinherit()
		return s.openKernel(snapshot)
	case userspace, byLane:
		return s.openUserspace(snapshot)
	default:
		s.disinherit()
		t, err := newTable(s.fabric, s.options)
		return &leaseOnly{t}, err
	}
}

// leaseOnly is the datapath of a network that only hands out subnets: it moves nothing.
type leaseOnly struct{ *table }

func (l *leaseOnly) plan() kernelmode.State { return kernelmode.State{} }
func (l *leaseOnly) close()                 {}

func (l *leaseOnly) describe(state *admin.State) {
	state.Peers = l.peers()
	state.Datapath = admin.Datapath{MTU: l.fabric.mtu()}
}
