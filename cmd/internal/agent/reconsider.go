package agent

import (
	"context"

	"weft/cmd/internal/admin"
	"weft/cmd/internal/selfcheck"
)

// reconsider takes the faster datapath where the choice is the agent's (auto) and nothing stood in its way
// but peers of another backend type, once the last of them has changed over: when the network config
// says another type, somebody always is the first to have heard.
//
// It is tried once in a session: what fails would fail again at every change of the leases.
func (s *session) reconsider(ctx context.Context) {
	if s.reconsidered || s.chosen.Load().word != wordOtherPeers || s.fabric.others(s.snapshot) != "" {
		return
	}
	s.reconsidered = true
	before := selfcheck.Probe(ctx, selfcheck.Peers(s.snapshot, s.fabric.own.Subnets()))
	s.grant(ctx, wish{datapath: auto, before: before, answer: make(chan admin.Switched, 1)})
}
