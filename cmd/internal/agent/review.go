package agent

import (
	"context"
	"slices"
	"time"

	"weft/cmd/internal/admin"
	"weft/cmd/internal/selfcheck"
)

// reviewAfter is how long a reason to choose another datapath has to last. Hosts follow a changed network
// config one after the other, within a second or two.
const reviewAfter = 3 * time.Second

// wordMeanwhile: peers still have to follow the network config.
const wordMeanwhile = "succeeding"

// due says whether `auto` would choose otherwise by now, as far as that depends on the peers.
func (s *session) due() bool {
	now := s.chosen.Load()
	if s.reviewed || slices.Contains([]string{userspace, inKernel, byLane}, s.options.Datapath) || !reusable(s.options) {
		return false
	}
	others := s.fabric.others(s.snapshot) != ""
	switch {
	case now.word == wordOtherPeers || now.word == wordMeanwhile:
		return !others
	case now.kind == inKernel:
		return others
	}
	return false
}

// review has the datapath chosen anew when it is due, as if somebody had asked for auto.
func (s *session) review(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.reviews:
		}
		if !pause(ctx, reviewAfter) {
			return nil
		}
		s.wishUnasked(ctx, auto)
	}
}

// wishUnasked is the agent's own asking for another datapath.
func (s *session) wishUnasked(ctx context.Context, datapath string) {
	var before selfcheck.Result
	if snapshot, _ := s.follower.Snapshots().Latest(); snapshot != nil {
		before = selfcheck.Probe(ctx, selfcheck.Peers(snapshot, s.fabric.own.Subnets(), s.fabric.mtu()))
	}
	select {
	case <-ctx.Done():
	case s.wishes <- wish{datapath: datapath, before: before, answer: make(chan admin.Switched, 1), unasked: true}:
	}
}
