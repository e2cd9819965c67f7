package agent

import (
	"reflect"
	"slices"
	"strings"
)

// arrange makes of the lanes that earlier agents or sessions left what the chosen datapath wants: one in front of its
// device, taken over where there is one, or none. A lane that was asked for and can't be had is no reason not to
// forward. It is the follower's, once user space or the kernel forwards: loading programs takes its time.
func (s *session) arrange() {
	defer close(s.arranged)
	s.arrangeLanes(s.chosen.Load().kind)
	if plan := s.current().plan(); s.reconciler != nil && !reflect.DeepEqual(plan, s.plan) {
		s.want(plan)
	}
}

func (s *session) arrangeLanes(kind string) {
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
	case kind == byLane:
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
	s.log.Warn("express isn't to be had: forwarding in user space", "why", oneLine(why))
	better := "`weft switch express` tries it again"
	if word == wordLaneLost {
		better = "express is tried again by itself, ever more seldom and at least once a minute; " + better + " at once"
	}
	s.chosen.Store(&choice{kind: userspace, why: "express isn't to be had: " + oneLine(why), word: word, better: better})
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
