package agent

import (
	"errors"
	"slices"
	"testing"
	"time"

	"weft/cmd/internal/probe"
	"weft/kernelmode"
)

// What a session makes of lanes that agents before it left, by what it is to forward through.
func TestArrange(t *testing.T) {
	for _, test := range []struct {
		name    string
		kind    string
		kept    string // device that a lane was laid on, by the keepsake
		left    string // device with pins
		opens   error
		did     []string
		chosen  string
		lasting bool
	}{
		{name: "nothing there", kind: userspace, chosen: userspace},
		{name: "a lane", kind: byLane, chosen: byLane, lasting: true},
		{name: "taken over", kind: byLane, kept: "weft0", left: "weft0", chosen: byLane, lasting: true},
		{name: "not to be had", kind: byLane, opens: errors.New("no bpf(2)"), did: []string{"detach weft0"}, chosen: userspace},
		{name: "not to be had any more", kind: byLane, left: "weft0", opens: errors.New("no bpf(2)"), did: []string{"detach weft0"}, chosen: userspace},
		{name: "taken away", kind: userspace, left: "weft0", did: []string{"detach weft0"}, chosen: userspace},
		{name: "taken away without pins", kind: userspace, kept: "weft0", did: []string{"detach weft0"}, chosen: userspace},
		{name: "another device's", kind: userspace, kept: "weft9", did: []string{"remove weft9"}, chosen: userspace},
		{name: "into the kernel", kind: inKernel, kept: "weft0", left: "weft0", did: []string{"remove weft0"}, chosen: inKernel},
		{name: "into the kernel, nothing kept", kind: inKernel, left: "weft0", did: []string{"remove weft0"}, chosen: inKernel},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, _, lanes := laneSession(t)
			if test.kind == inKernel {
				k, err := s.openKernel(s.snapshot)
				if err != nil {
					t.Fatal(err)
				}
				s.replace(k)
			}
			lanes.opens = test.opens
			if test.left != "" {
				lanes.left = []string{test.left}
			}
			s.kept.Lane = keptLane{test.kept, "eth0"}
			chosen := choice{kind: test.kind}
			s.chosen.Store(&chosen)
			s.arrange()
			if !slices.Equal(lanes.did, test.did) || s.chosen.Load().kind != test.chosen || lanes.lasting != test.lasting {
				t.Errorf("did %q, want %q; %s; the device is lasting: %t", lanes.did, test.did, s.chosen.Load().kind, lanes.lasting)
			}
			want := keptLane{}
			if test.chosen == byLane {
				want = keptLane{"weft0", "eth0"}
			}
			if s.kept.Lane.Device != want.Device || want.Device != "" && s.kept.Lane != want {
				t.Errorf("the next run will look for %+v, want %+v", s.kept.Lane, want)
			}
		})
	}
}

// An earlier lane on another underlay is detached before this one's comes: nothing else would find its program there.
func TestLaneOnAnotherUnderlay(t *testing.T) {
	s, u, lanes := laneSession(t)
	s.kept.Lane = keptLane{"weft0", "eth7"}
	if err := s.layLane(u); err != nil || !slices.Equal(lanes.did, []string{"detach weft0"}) {
		t.Errorf("%v, %q", err, lanes.did)
	}
	if err := s.layLane(u); err != nil || len(lanes.did) != 1 {
		t.Errorf("again: %v, %q", err, lanes.did)
	}
}

// A lane stays when the agent ends, and goes when the session does for another reason, or the lease goes too.
func TestLaneAtTheEnd(t *testing.T) {
	for _, test := range []struct {
		name            string
		ending, release bool
		closed          string
	}{
		{"the agent ends", true, false, "left"},
		{"with its lease", true, true, "detached"},
		{"the session ends", false, false, "detached"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, u, lanes := laneSession(t)
			if err := s.layLane(u); err != nil {
				t.Fatal(err)
			}
			s.member.options.ReleaseOnExit = test.release
			s.leave(false, test.ending)
			if lanes.last().closed != test.closed || lanes.lasting != (test.closed == "left") || u.front.on() {
				t.Errorf("the lane is %s, the device is lasting: %t", lanes.last().closed, lanes.lasting)
			}
		})
	}
}

// What a kernel does about lanes can be asked like everything else.
func TestFeature(t *testing.T) {
	asked := 0
	try := feature(func(f kernelmode.Feature) kernelmode.Capability {
		asked++
		return kernelmode.Capability{Feature: f}
	})
	if can := try(kernelmode.FeatureVXLAN); can.Feature != kernelmode.FeatureVXLAN || asked != 1 {
		t.Errorf("%+v, asked %d times", can, asked)
	}
	if can := try(probe.FeatureLane); can.Feature != probe.FeatureLane || asked != 1 {
		t.Errorf("%+v, asked %d times", can, asked)
	}
}

// steps notes what was done to passages, in order.
type step struct {
	name  string
	fails error
	log   *[]string
}

func (s step) note(what string) { *s.log = append(*s.log, what+" "+s.name) }

func (s step) over() (time.Duration, error) {
	s.note("over")
	return time.Second, s.fails
}

func (s step) back() error {
	s.note("back")
	return nil
}
func (s step) finish()       { s.note("finish") }
func (s step) steered() bool { return s.fails == nil }

// Two passages are done one after the other, and undone in the other order.
func TestInTurn(t *testing.T) {
	var log []string
	b := &inTurn{first: step{name: "1", log: &log}, second: step{name: "2", log: &log}}
	if took, err := b.over(); took != 2*time.Second || err != nil || !b.steered() {
		t.Errorf("%v, %v", took, err)
	}
	b.finish()
	_ = b.back()
	if want := []string{"over 1", "over 2", "finish 1", "finish 2", "back 2", "back 1"}; !slices.Equal(log, want) {
		t.Errorf("%q, want %q", log, want)
	}
	log = nil
	failed := errors.New("no")
	b.first = step{"1", failed, &log}
	if _, err := b.over(); !errors.Is(err, failed) || b.steered() || !slices.Equal(log, []string{"over 1"}) {
		t.Errorf("%v after %q", err, log)
	}
}

// Going from user space to the lane and back is laying and lifting; back undoes what was done, and nothing else.
func TestLayingPassage(t *testing.T) {
	s, u, lanes := laneSession(t)
	p, err := s.prepare(choice{kind: byLane})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.back(); err != nil || len(lanes.all) != 0 {
		t.Errorf("back before over: %v, %d lanes", err, len(lanes.all))
	}
	if _, err := p.over(); err != nil || !u.front.on() {
		t.Fatal(err)
	}
	if err := p.back(); err != nil || u.front.on() || lanes.last().closed != "detached" {
		t.Errorf("back: %v, lane on: %t", err, u.front.on())
	}
	lanes.opens = errors.New("no memory")
	if _, err := p.over(); !errors.Is(err, lanes.opens) || lanes.lasting {
		t.Errorf("%v, the device is lasting: %t", err, lanes.lasting)
	}
}
