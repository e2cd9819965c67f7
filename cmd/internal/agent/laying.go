package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"weft/cmd/internal/probe"
	"weft/kernelmode"
)

// The express lane stands in front of a userPath, which goes on behind it. Laying and lifting it is all that tells the
// datapaths userspace and express apart, and takes no packet off its way:
//
//	TUN ─▶ forwarder ─▶ sockets        ─ laid ─▶        TUN ─▶ lane ─▶ underlay
//	                                                         └▶ forwarder ─▶ sockets
//
// With a lane the device is a lasting one, since the lane would go with it. Both stay when the agent ends, as the
// kernel's datapath does, until the next agent takes them over or `weft cleanup` comes.

// Words for why there is no lane although somebody wants one; beside those of kernelmode.
const (
	wordLaneFailed = "lane_failed"   // it couldn't be laid
	wordLaneCheck  = "lane_check"    // peers didn't answer through it that answer without
	wordLaneUnwant = "lane_unwanted" // somebody takes it away again and again
	wordLaneLost   = "lane_lost"     // it couldn't be put back: tried again by itself
)

// layLane puts the lane in front. On an error none is there.
func (s *session) layLane(u *userPath) error {
	here := keptLane{u.options.TUNName, u.fabric.underlay.Name}
	if before := s.kept.Lane; before.Device == here.Device && before.Underlay != here.Underlay && !u.front.on() {
		// Taking over would leave a program on the other underlay.
		if err := s.lanes.Detach(here.Device); err != nil {
			return err
		}
	}
	s.keepLane(here)
	err := s.lanes.Keep(u.queues[0], true)
	if err == nil {
		err = s.layGround(u)
	}
	if err == nil {
		err = u.front.lay(u.laneConfig(), u.laneRoutes())
	}
	if err != nil {
		return errors.Join(err, s.liftLane(u))
	}
	return nil
}

// layGround has the kernel forward where the lane's packets leave: its lookups ask for that.
func (s *session) layGround(u *userPath) error {
	u.express = true
	if err := s.keepAdvertisements(u.fabric); err != nil {
		return err
	}
	if _, err := kernelmode.Apply(s.kernel, kernelmode.State{Sysctls: u.laneSysctls()}); err != nil {
		return fmt.Errorf("preparing the underlay for the lane: %w", err)
	}
	return nil
}

// keepAdvertisements has an interface that will forward IPv6 go on taking its routes from router advertisements, if it does
// so: accept_ra 1 means not while forwarding (ip-sysctl).
func (s *session) keepAdvertisements(f fabric) error {
	if _, v6 := f.outer(); !v6.IsValid() {
		return nil
	}
	accept := kernelmode.Sysctl{Name: "net/ipv6/conf/" + f.underlay.Name + "/accept_ra", Value: "2"}
	have, err := s.kernel.Read(kernelmode.Scope{Sysctls: []string{accept.Name}})
	if err == nil && len(have.Sysctls) == 1 && have.Sysctls[0].Value == "1" {
		_, err = kernelmode.Apply(s.kernel, kernelmode.State{Sysctls: []kernelmode.Sysctl{accept}})
	}
	if err != nil {
		return fmt.Errorf("keeping router advertisements on %s before it forwards: %w", f.underlay.Name, err)
	}
	return nil
}

// liftLane takes whatever lane there is off the device, which then goes with the agent.
func (s *session) liftLane(u *userPath) error {
	u.express = false
	if err := errors.Join(u.front.lift(u.options.TUNName), s.lanes.Keep(u.queues[0], false)); err != nil {
		return err
	}
	s.keepLane(keptLane{})
	return nil
}

// laneSysctls are what the lane needs beside the userspace datapath's own.
func (u *userPath) laneSysctls() (all []kernelmode.Sysctl) {
	for _, local := range u.fabric.local() {
		family := "ipv4"
		if local.Is6() {
			family = "ipv6"
		}
		name := "net/" + family + "/conf/" + u.fabric.underlay.Name + "/forwarding"
		all = append(all, kernelmode.Sysctl{Name: name, Value: "1", Optional: true})
	}
	return all
}

// arrange makes of the lanes that earlier agents or sessions left what the chosen datapath wants: one in front of its
// device, taken over where there is one, or none. A lane that was asked for and can't be had is no reason not to
// forward.
func (s *session) arrange(chosen choice) {
	for _, device := range s.strayLanes() {
		if err := s.lanes.Remove(device); err != nil {
			s.log.Warn("an earlier agent's lane wasn't removed", "device", device, "err", err)
			continue
		}
		s.keepLane(keptLane{})
		s.log.Info("an earlier agent's lane removed", "device", device)
	}
	u, ok := s.current().(*userPath)
	switch {
	case !ok:
	case chosen.kind == byLane:
		if err := s.layLane(u); err != nil {
			s.withoutLane(wordLaneFailed, err)
		}
	case u.front.on() || s.kept.Lane.Device == u.options.TUNName || s.lanes.Left(u.options.TUNName):
		if err := s.liftLane(u); err != nil {
			s.log.Warn("the lane wasn't lifted", "err", err)
		}
	}
}

// strayLanes are the devices of lanes that earlier agents left, and that this session has no use for.
func (s *session) strayLanes() (all []string) {
	if s.kept.Lane.Device != "" {
		all = append(all, s.kept.Lane.Device)
	}
	if name := s.options.TUNName; s.lanes.Left(name) && !slices.Contains(all, name) {
		all = append(all, name)
	}
	if u, ok := s.current().(*userPath); ok {
		return slices.DeleteFunc(all, func(d string) bool { return d == u.options.TUNName })
	}
	return all
}

// withoutLane goes on in user space, and says why.
func (s *session) withoutLane(word string, why error) {
	s.log.Error("express isn't to be had: forwarding in user space", "why", oneLine(why))
	s.chosen.Store(&choice{kind: userspace, why: "express isn't to be had: " + oneLine(why), word: word,
		better: "`weft switch express` tries it again"})
}

// oneLine is an error that may be several.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// giveUpLane falls back to user space, while packets flow.
func (s *session) giveUpLane(fault laneFault) {
	u, ok := s.current().(*userPath)
	if !ok || !u.front.on() {
		return
	}
	if err := s.liftLane(u); err != nil {
		s.log.Warn("the lane wasn't lifted", "err", err)
	}
	s.withoutLane(fault.word, fault.why)
	if s.reconciler != nil {
		s.want(u.plan())
	}
}

// laneLost tells when the lane can't stay; nil, which is never, where there is none.
func (s *session) laneLost() <-chan laneFault {
	if u, ok := s.current().(*userPath); ok {
		return u.front.lost
	}
	return nil
}

const (
	tendEvery  = time.Second     // what express.Lane wants of Check
	firstRelay = 5 * time.Second // after a lane was lost it is laid again so soon, and then ever more seldom
	lastRelay  = time.Minute
)

// tend looks after the lane while there is one, and has one that was lost, as when the underlay's interface goes away,
// laid again.
func (s *session) tend(ctx context.Context) error {
	var w watch
	wait, at := firstRelay, time.Time{}
	for pause(ctx, tendEvery) {
		u, ok := s.current().(*userPath)
		if !ok {
			continue
		}
		news, lost := w.look(u.front, time.Now())
		if news != "" {
			s.log.Warn("express lane", "what", news)
		}
		if lost.why != nil {
			u.front.lose(lost)
			at = time.Now().Add(wait)
		}
		switch now := time.Now(); {
		case s.chosen.Load().word != wordLaneLost:
			wait = firstRelay
		case now.After(at):
			wait = min(2*wait, lastRelay)
			at = now.Add(wait)
			s.wishUnasked(ctx, byLane)
		}
	}
	return nil
}

// feature tries what kernelmode tries, and the lane.
func feature(of func(kernelmode.Feature) kernelmode.Capability) func(kernelmode.Feature) kernelmode.Capability {
	return func(f kernelmode.Feature) kernelmode.Capability {
		if f == probe.FeatureLane {
			can, _ := probe.Lane()
			return can
		}
		return of(f)
	}
}

// keepLane notes where a lane lies before it is laid, so that whatever run comes next finds it; zero: there is none.
func (m *member) keepLane(l keptLane) {
	if m.kept.Lane != l {
		m.kept.Lane = l
		m.keep()
	}
}
