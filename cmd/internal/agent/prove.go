package agent

import (
	"context"
	"fmt"
	"time"

	"weft/cmd/internal/selfcheck"
)

// A lane is checked when it begins, and again so long after peers have changed: the first time soon, since a network that
// starts knows few peers at first, and then ever more seldom.
const (
	proveFirst  = 2 * time.Second
	proveSeldom = time.Minute
)

// prove asks peers through the lane. A switch asks them before and after; here there is no before, and whoever is
// silent may be down, or behind something that takes the forwarder's packets and not the lane's, such as a firewall that
// goes by source ports or wants checksums.
func (s *session) prove(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.arranged:
	}
	for wait := proveFirst; ; wait = min(2*wait, proveSeldom) {
		snapshot, version := s.follower.Snapshots().Latest()
		if u, ok := s.current().(*userPath); ok && snapshot != nil && u.front.on() {
			err := lanePasses(ctx, selfcheck.Peers(snapshot, s.fabric.own.Subnets()))
			if err != nil && ctx.Err() == nil {
				u.front.lose(laneFault{wordLaneCheck, fmt.Errorf("its self-check failed: %w", err)})
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.follower.Snapshots().Changed(version):
		}
		if !pause(ctx, wait) {
			return nil
		}
	}
}

// proveRounds is how often the same has to show, so that a peer that just starts, or ends, isn't taken for one that
// the lane doesn't reach.
const proveRounds = 2

// lanePasses says which peers don't answer through the lane although they do when they are asked with packets that it
// leaves to user space.
func lanePasses(ctx context.Context, peers []selfcheck.Peer) error {
	// The first packets to neighbours that the kernel doesn't know yet go by user space, whatever comes after.
	selfcheck.Probe(ctx, peers)
	silent := silentOf(selfcheck.Probe(ctx, peers))
	var verdict selfcheck.Verdict
	for range proveRounds {
		around := selfcheck.ProbeAround(ctx, silent)
		verdict = selfcheck.Compare(around, selfcheck.Probe(ctx, around.Answering()))
		if verdict.OK {
			return nil // they are down, or have come up meanwhile
		}
		silent = silent[:0]
		for _, a := range verdict.Lost {
			silent = append(silent, a.Peer)
		}
	}
	return fmt.Errorf("of peers that answer by way of user space, %s", verdict.Why)
}

func silentOf(r selfcheck.Result) (all []selfcheck.Peer) {
	for _, a := range r.Answers {
		if !a.Answered {
			all = append(all, a.Peer)
		}
	}
	return all
}
