package agent

import (
	"errors"
	"fmt"

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
		lay := u.front.lay
		if u.front.on() { // inherited from the session before
			lay = u.front.publish
		}
		err = lay(u.laneConfig(), u.laneRoutes())
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

// keepLane notes where a lane lies before it is laid, so that whatever run comes next finds it; zero: there is none.
func (m *member) keepLane(l keptLane) {
	if m.kept.Lane != l {
		m.kept.Lane = l
		m.keep()
	}
}
