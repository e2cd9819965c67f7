package perf

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"weft/perf/report"
)

// A subject is something to measure: a way to join two hosts' containers.
type subject struct {
	name   string
	kind   report.Kind
	detail string    // what matters of its configuration; build may add to it
	needs  []string  // programs that must be on PATH
	flags  []string  // weft agent flags, for subjects that are weft; without them the subject makes no sense
	extra  []string  // more of them, left out where the agent doesn't know them
	group  string    // word that stands for it and its like, which are measured in few scenarios; "": none
	sides  [2]string // datapath of either weft host, from which load comes and to which it goes

	// build joins the hosts of a fabric that newFabric made: it sets mtu, forwarders, near and far.
	// On an error the caller closes the fabric.
	build func(ctx context.Context, f *fabric, o *Options, s subject) error
}

// subjects lists all, in the order of the tables: what the kernel has, weft, peers, weft's ladder.
func subjects() []subject {
	all := []subject{
		{name: report.Plain, kind: report.InKernel, detail: "no tunnel: routes over the veth", build: buildPlain},
		{name: report.Reference, kind: report.InKernel, detail: "kernel VXLAN, laid out as flannel does, outer checksums on", build: buildVXLAN},
		{name: report.Weft, kind: report.UserSpace, detail: "weft agent, type udp, userspace", sides: both(userspace), build: buildUDP},
		{name: report.WeftLane, kind: report.InLane, detail: "weft agent, type udp, eBPF lane", sides: both(express), build: buildUDP},
		{name: report.WeftLaneX, kind: report.InLane, detail: "weft agent, type vxlan, eBPF lane", sides: both(express), build: buildMix},
		{name: report.FlannelUDP, kind: report.UserSpace, detail: "flanneld, type udp", needs: []string{"flanneld"}, build: buildFlannel},
		{name: report.Nebula, kind: report.UserSpace, detail: "nebula, encrypted", needs: []string{"nebula", "nebula-cert"}, build: buildNebula},
		{name: report.WireGuardGo, kind: report.UserSpace, detail: "wireguard-go, encrypted", needs: []string{"wireguard-go"}, build: buildWireGuard},
	}
	return slices.Concat(all, mixes(), ladder())
}

// mixes are weft in one VXLAN network, with every pair of datapaths. Those of the kernel alone are what the
// others compare with: the same agents, the same devices as kernel VXLAN's.
func mixes() []subject {
	mix := func(name string, sides ...string) subject {
		kind := report.InKernel
		switch {
		case slices.Contains(sides, userspace):
			kind = report.UserSpace
		case slices.Contains(sides, express):
			kind = report.InLane
		}
		return subject{
			name: name, kind: kind, detail: "weft agent, type vxlan, " + sides[0] + " to " + sides[1],
			group: MixSubjects, sides: [2]string(sides), build: buildMix,
		}
	}
	return []subject{
		mix(report.KernelToKernel, kernel, kernel), mix(report.UserToUser, userspace, userspace),
		mix(report.UserToKernel, userspace, kernel), mix(report.KernelToUser, kernel, userspace),
		mix(report.LaneToLane, express, express),
		mix(report.LaneToUser, express, userspace), mix(report.UserToLane, userspace, express),
		mix(report.LaneToKernel, express, kernel), mix(report.KernelToLane, kernel, express),
	}
}

// Datapaths of an agent (--datapath).
const (
	userspace = "userspace"
	express   = "express"
	kernel    = "kernel"
)

// both is one datapath on both hosts.
func both(datapath string) [2]string { return [2]string{datapath, datapath} }

// ladder is weft with one rung off at a time, with all off, and with one and two workers.
func ladder() []subject {
	rungs := []struct{ name, flag, what string }{
		{"tso", "--offload-tso=off", "no TCP superpackets at the TUN"},
		{"uso", "--offload-uso=off", "no UDP superpackets at the TUN"},
		{"gso", "--offload-gso=off", "no UDP_SEGMENT"},
		{"gro", "--offload-gro=off", "no UDP_GRO"},
		{"tgso", "--offload-udp-tunnel-gso=off", "no superpackets that leave whole"},
		{"rco", "--offload-remote-checksum=off", "no remote checksum"},
		{"mq", "--offload-multi-queue=off", "one queue for all workers"},
		{"batch", "--offload-batch=off", "no sendmmsg and recvmmsg"},
	}
	weft := func(name, what string, flags ...string) subject {
		return subject{name: name, kind: report.UserSpace, detail: "weft, " + what, flags: flags, group: LadderSubjects, sides: both(userspace), build: buildUDP}
	}
	var all []subject
	bare := weft("weft-bare", "every rung off")
	for _, rung := range rungs {
		all = append(all, weft("weft-no"+rung.name, rung.what, rung.flag))
		bare.extra = append(bare.extra, rung.flag)
	}
	return append(all, bare,
		weft("weft-split", "a thread for each direction", "--split-directions"),
		weft(report.WeftOneQueue, "one worker", "--workers=1"),
		weft(report.WeftTwoQueue, "two workers", "--workers=2"),
	)
}

// Words that stand for several subjects.
const (
	AllSubjects    = "all"
	LadderSubjects = "ladder"
	MixSubjects    = "mixes"
	LaneSubjects   = "express" // everything that has the eBPF lane on a host, mixes included
)

// answers reports whether a name that somebody gave means the subject.
func (s subject) answers(name string) bool {
	switch name {
	case AllSubjects:
		return true
	case LaneSubjects:
		return slices.Contains(s.sides[:], express)
	}
	return name == s.name || s.group != "" && name == s.group
}

// SubjectNames lists the names that Options.Subjects takes.
func SubjectNames() []string {
	names := []string{AllSubjects, LadderSubjects, MixSubjects, LaneSubjects}
	for _, s := range subjects() {
		names = append(names, s.name)
	}
	return names
}

// candidates returns the subjects that a run asks for, in the order of the tables.
func (o *Options) candidates() ([]subject, error) {
	all := subjects()
	if len(o.Subjects) == 0 {
		return slices.DeleteFunc(all, func(s subject) bool { return o.Quick && s.group != "" }), nil
	}
	for _, name := range o.Subjects {
		if !slices.Contains(SubjectNames(), name) {
			return nil, fmt.Errorf("subject %q is not known: use some of %s", name, strings.Join(SubjectNames(), ","))
		}
	}
	return slices.DeleteFunc(all, func(s subject) bool {
		return !slices.ContainsFunc(o.Subjects, s.answers)
	}), nil
}

// errMissing: something that the subject needs is not on this machine. It is a reason to skip it.
var errMissing = errors.New("missing")

// missing says what the subject lacks here, nil if nothing.
func (s subject) missing(ctx context.Context, o *Options) error {
	for _, program := range s.needs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: %s is not on PATH: install it to measure %s", errMissing, program, s.name)
		}
	}
	known, err := o.knownFlags(ctx, s.flags)
	if err == nil && len(known) < len(s.flags) {
		err = fmt.Errorf("%w: this weft agent lacks one of %s", errMissing, strings.Join(s.flags, " "))
	}
	return err
}

// knownFlags returns those flags that the weft agent has, by its own help.
func (o *Options) knownFlags(ctx context.Context, flags []string) ([]string, error) {
	if len(flags) == 0 {
		return nil, nil
	}
	help, err := exec.CommandContext(ctx, o.Weft, "agent", "--help").Output()
	if err != nil {
		return nil, fmt.Errorf("asking %s for its flags: %w", o.Weft, err)
	}
	var known []string
	for _, flag := range flags {
		name, _, _ := strings.Cut(flag, "=")
		if slices.Contains(strings.Fields(string(help)), name) {
			known = append(known, flag)
		}
	}
	return known, nil
}
