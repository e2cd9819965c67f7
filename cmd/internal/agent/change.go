package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weft/cmd/internal/admin"
	"weft/cmd/internal/selfcheck"
	"weft/kernelmode"
)

// relay wishes for what was asked for last, now that the lane was lost.
const relay = "relay"

// A wish is somebody's asking for another datapath.
type wish struct {
	datapath string                // auto, userspace, express or kernel
	before   selfcheck.Result      // who answered before
	answer   chan<- admin.Switched // one slot
	unasked  bool                  // the agent's own: nobody waits for the outcome
}

// switchable says what may be wished for, and why something may not.
func switchable(datapath string) error {
	switch datapath {
	case auto, userspace, inKernel, byLane:
		return nil
	default:
		return fmt.Errorf("datapath %q: use auto, express, kernel or userspace", datapath)
	}
}

// Switch moves the packets to another datapath while they flow: lease, MAC addresses, port and MTU stay.
// It holds until the agent ends or the next Switch. Peers are asked before and after; if one that
// answered doesn't any more, the datapath before is put back. Any error is in the result, and then what
// was before is kept. It may be called at any time.
func (a *Agent) Switch(ctx context.Context, datapath string) admin.Switched {
	began := time.Now()
	if err := switchable(datapath); err != nil {
		return a.unswitched(began, err)
	}
	m := a.member.Load()
	if m == nil {
		return a.unswitched(began, errors.New("the agent isn't in a network yet: weft status says what it waits for"))
	}
	s := m.session.Load()
	if s == nil {
		return a.unswitched(began, errors.New("the agent has no lease yet: weft status says what it waits for"))
	}
	var before selfcheck.Result
	if snapshot, _ := s.follower.Snapshots().Latest(); snapshot != nil {
		before = selfcheck.Probe(ctx, selfcheck.Peers(snapshot, s.fabric.own.Subnets(), s.fabric.mtu()))
	}
	answer := make(chan admin.Switched, 1)
	select {
	case s.wishes <- wish{datapath: datapath, before: before, answer: answer}:
	case <-ctx.Done():
		return a.unswitched(began, context.Cause(ctx))
	case <-s.over:
		return a.unswitched(began, errors.New("forwarding was just starting anew: try again"))
	}
	select {
	case result := <-answer:
		result.Took = time.Since(began)
		return result
	case <-s.over:
		return a.unswitched(began, errors.New("forwarding ended meanwhile: weft status shows what has become of it"))
	}
}

// unswitched is the answer where nothing changed.
func (a *Agent) unswitched(began time.Time, err error) admin.Switched {
	d := a.State().Datapath
	return admin.Switched{Datapath: d.Kind, Why: d.Why, Took: time.Since(began), Error: err.Error()}
}

// grant carries a wish out, or says why not. It is the follower's.
func (s *session) grant(ctx context.Context, w wish) {
	from := *s.chosen.Load()
	if w.datapath == relay && from.word != wordLaneLost {
		return // somebody has asked for something else meanwhile
	}
	if w.datapath == relay {
		w.datapath = s.options.Datapath
	}
	o := s.options
	o.Datapath = w.datapath
	next, err := choose(s.fabric.config, o, s.fabric.others(s.snapshot), s.try)
	if err == nil {
		err = next.denied
	}
	switch {
	case err != nil:
	case next.kind == from.kind:
		s.chosen.Store(&next)
	default:
		err = s.change(ctx, next, w.before)
	}
	if err != nil {
		s.log.Error("datapath not switched", "asked", w.datapath, "still", from.kind, "err", err)
	} else {
		s.member.options.Datapath = w.datapath
	}
	if w.unasked {
		s.reviewed = err != nil
	} else {
		s.record(w.datapath, err)
	}
	now := s.chosen.Load()
	result := admin.Switched{Datapath: now.kind, Why: now.why}
	if err != nil {
		result.Error = err.Error()
	}
	w.answer <- result
}

// record keeps what became of the latest wish, for status.
func (s *session) record(asked string, err error) {
	last := &admin.LastSwitch{At: time.Now(), Asked: asked}
	if err != nil {
		last.Error = err.Error()
	}
	s.progress.update(func(state *admin.State) { state.Switched = last })
}

// change hands the packets over to another kind of datapath, and back if peers are lost by it. What goes
// wrong before the handing over leaves the present one as it is.
func (s *session) change(ctx context.Context, next choice, before selfcheck.Result) error {
	began := time.Now()
	s.standBack()
	h, err := s.prepare(next)
	if err != nil {
		s.want(s.current().plan())
		return err
	}
	took, err := h.over()
	if err == nil {
		err = s.stillAnswering(ctx, before)
	}
	if err != nil {
		backErr := h.back()
		s.want(s.current().plan())
		if backErr != nil {
			// What has become of the kernel's state is looked at by a new session.
			s.end(fmt.Errorf("going back to the datapath before: %w", backErr))
		}
		return errors.Join(err, backErr)
	}
	h.finish()
	s.chosen.Store(&next)
	s.want(s.current().plan())
	s.log.Info("datapath switched", "to", next.kind, "why", next.why, "steered", h.steered(), "handover", took, "took", time.Since(began))
	return nil
}

// standBack has the reconciler want nothing, and waits until it has come to that: it mustn't put back what
// is about to change, nor go on with what it had begun.
func (s *session) standBack() {
	s.reconciler.Want(kernelmode.State{Revision: nothingWanted})
	for range standBackTries {
		if s.reconciler.Status().Installed.Revision == nothingWanted {
			return
		}
		time.Sleep(standBackPause)
	}
}

const (
	nothingWanted  = -1 // no store has such a revision
	standBackTries = 2000
	standBackPause = time.Millisecond
)

// want has the reconciler keep the kernel at a plan.
func (s *session) want(plan kernelmode.State) {
	s.plan = plan
	s.reconciler.Want(plan)
}

// stillAnswering asks those peers again that answered before.
func (s *session) stillAnswering(ctx context.Context, before selfcheck.Result) error {
	verdict := selfcheck.Compare(before, selfcheck.Probe(ctx, before.Answering()))
	s.log.Info("peers asked through the new datapath", "ok", verdict.OK, "outcome", verdict.Why)
	if !verdict.OK {
		return errors.New(verdict.Why)
	}
	return nil
}
