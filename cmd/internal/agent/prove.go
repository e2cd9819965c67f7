package agent

import (
	"context"
	"errors"
	"fmt"

	"weft/cmd/internal/selfcheck"
)

// prove asks peers through the lane that a session has begun with. A switch asks them before and after; here there is no
// before, and whoever is silent may be down, or behind something that takes the forwarder's packets and not the lane's,
// such as a firewall that goes by source ports or wants checksums. Packets that the lane leaves to user space tell which.
func (s *session) prove(ctx context.Context) error {
	snapshot, _ := s.follower.Snapshots().Latest()
	if s.chosen.Load().kind != byLane || snapshot == nil {
		return nil
	}
	peers := selfcheck.Peers(snapshot, s.fabric.own.Subnets())
	// The first packets to neighbours that the kernel doesn't know yet go by user space, whatever comes after.
	selfcheck.Probe(ctx, peers)
	asked := selfcheck.Probe(ctx, peers)
	s.log.Info("peers asked through the lane", "asked", len(asked.Answers), "answered", len(asked.Answering()))
	around := selfcheck.ProbeAround(ctx, silentOf(asked))
	if len(around.Answering()) == 0 {
		return nil // they are down, or nobody was silent
	}
	again := selfcheck.Probe(ctx, around.Answering()) // they may have come up meanwhile
	if verdict := selfcheck.Compare(around, again); !verdict.OK && ctx.Err() == nil {
		s.doubt(fmt.Errorf("its self-check failed: of peers that answer by way of user space, %w", errors.New(verdict.Why)))
	}
	return nil
}

func silentOf(r selfcheck.Result) (all []selfcheck.Peer) {
	for _, a := range r.Answers {
		if !a.Answered {
			all = append(all, a.Peer)
		}
	}
	return all
}

// doubt has the follower give up the lane, if packets still go through one.
func (s *session) doubt(why error) {
	if u, ok := s.current().(*userPath); ok && u.front.on() {
		u.front.lose(laneFault{wordLaneCheck, why})
	}
}
