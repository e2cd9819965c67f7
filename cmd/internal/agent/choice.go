package agent

import (
	"errors"
	"fmt"

	"weft/cmd/internal/admin"
	"weft/cmd/internal/probe"
	"weft/kernelmode"
	"weft/lease"
	"weft/tunnel"
)

// The datapaths, as --datapath and status name them.
const (
	auto      = "auto"
	userspace = "userspace"
	inKernel  = "kernel"
	byLane    = "express"
)

// A choice is who moves the packets, and what a person should know about it.
type choice struct {
	kind   string // userspace, kernel, or none
	why    string // it is this one
	better string // what would have to change for a faster one; "": there is none
	word   string // for metrics: a fixed word for what stands in a faster one's way; "" for nothing
	denied error  // why it isn't the lane that was asked for: user space forwards in any case
}

// choose decides for a network, given the wish, what peers there are, and what this kernel can do. The
// error says why the wish can't be had.
func choose(c lease.Config, o Options, others string, try func(kernelmode.Feature) kernelmode.Capability) (choice, error) {
	if err := o.follows(c); err != nil {
		return choice{}, err
	}
	switch c.BackendType {
	case typeAlloc:
		return choice{kind: "none", why: "backend type alloc only hands out subnets"}, nil
	case typeHostGW:
		return choice{kind: inKernel, why: "backend type host-gw is routes in the kernel"}, nil
	}
	switch o.Datapath {
	case byLane:
		return o.lane(try), nil
	case userspace:
		return o.asked(c), nil
	case inKernel:
		if can := try(featureOf(c)); !can.OK() {
			return choice{}, fmt.Errorf("--datapath kernel: %v; or use auto, express or userspace", can)
		}
		return choice{kind: inKernel, why: "asked for"}, nil
	}
	if c.BackendType == typeUDP {
		slow := inUserspace("no kernel has a device for backend type udp", "the kernel's own VXLAN takes part in a network of backend type vxlan", "backend_type")
		return o.orLane(slow, c, try), nil
	}
	return o.orLane(o.fastest(c, others, try), c, try), nil
}

// laneHint is for those who want more than user space.
const laneHint = "`weft switch express`, or --datapath express, has eBPF programs carry the common packets inside the kernel, where weft doctor says that it works"

func inUserspace(why, better, word string) choice {
	return choice{kind: userspace, why: why, better: better, word: word}
}

// asked is user space because somebody wants it.
func (o Options) asked(c lease.Config) choice {
	if c.BackendType == typeUDP {
		return inUserspace("asked for", laneHint, "asked")
	}
	return inUserspace("asked for", "--datapath auto, or `weft switch auto`, takes the kernel's where that works; "+laneHint, "asked")
}

// lane is the express lane because somebody wants it, or user space where it can't be had.
func (o Options) lane(try func(kernelmode.Feature) kernelmode.Capability) choice {
	if o.IO == "portable" {
		err := errors.New("--io portable has no device that the lane could outlive the agent with: restart the agent without it")
		return choice{kind: userspace, why: err.Error(), word: wordLaneFailed, better: "without --io portable express serves", denied: err}
	}
	if can := try(probe.FeatureLane); !can.OK() {
		return choice{kind: userspace, why: fmt.Sprintf("express was asked for, and isn't to be had here: %v", can.Err), word: string(can.Obstacle),
			better: "`weft switch express`, once that has changed", denied: can.Err}
	}
	return choice{kind: byLane, why: "asked for"}
}

// orLane is auto's taking of the lane in the place of user space: it costs a hundredth of the CPU time, and never more than
// user space's latency. Where something speaks for user space, that is said.
func (o Options) orLane(slow choice, c lease.Config, try func(kernelmode.Feature) kernelmode.Capability) choice {
	if slow.kind != userspace {
		return slow
	}
	instead := func(why, better string) choice {
		slow.why += "; " + why
		if better != "" {
			slow.better += "; " + better
		}
		return slow
	}
	switch {
	case o.IO == "portable" || o.Split:
		return instead("--io portable and --split-directions are for user space alone", "without them express serves")
	case o.RemoteSums == tunnel.On:
		return instead("--offload-remote-checksum=on is for user space alone", "without it express serves")
	case c.Migration != nil:
		return instead("express waits until the network has migrated", "when the migration is over express is taken")
	}
	if can := try(probe.FeatureLane); !can.OK() {
		return instead(fmt.Sprintf("express isn't to be had here: %v", can.Err), can.Remedy)
	}
	fast := choice{kind: byLane, why: slow.why + "; express works here"}
	if c.BackendType != typeUDP { // for which nothing is faster
		fast.better, fast.word = slow.better, slow.word
	}
	return fast
}

// wordOtherPeers: there are peers that the kernel's datapath can't talk to.
const wordOtherPeers = "other_peers"

// fastest takes the kernel's datapath unless something stands in its way.
func (o Options) fastest(c lease.Config, others string, try func(kernelmode.Feature) kernelmode.Capability) choice {
	slow := func(word, why, better string) choice {
		return inUserspace(why, better, word)
	}
	switch {
	case c.BackendType == typeVXLAN && o.Port != 0:
		return slow("own_port", "--port is for user space alone", "without --port the kernel's vxlan device serves")
	case c.BackendType == typeVXLAN && o.vxlanSums():
		return slow("remote_checksum", "--offload-remote-checksum=on is for user space alone", "without it the kernel's vxlan device serves")
	case c.Migration != nil:
		return slow("migration", "the network migrates, and user space speaks both of its formats", "when the migration is over the kernel's datapath is taken")
	case others != "":
		return slow(wordOtherPeers, others, "once all peers are of backend type "+c.BackendType+", this agent takes the kernel's")
	}
	if can := try(featureOf(c)); !can.OK() {
		return slow(string(can.Obstacle), fmt.Sprintf("the kernel makes no %s devices here: %v", can.Feature, can.Err), can.Remedy)
	}
	return choice{kind: inKernel, why: fmt.Sprintf("the kernel makes %s devices here", featureOf(c))}
}

func featureOf(c lease.Config) kernelmode.Feature {
	if c.BackendType == typeIPIP {
		return kernelmode.FeatureIPIP
	}
	return kernelmode.FeatureVXLAN
}

// others says which peers the kernel's datapath couldn't talk to although user space can: hosts of
// another type, in a network that migrates. "" if there are none.
func (f fabric) others(s *lease.Snapshot) string {
	if s == nil {
		return ""
	}
	n, example := 0, lease.Lease{}
	for _, l := range s.Leases {
		kind := l.Attrs.BackendType
		if l.Subnets() == f.own.Subnets() || kind == f.config.BackendType || kind != "" && kind != typeVXLAN && kind != typeIPIP {
			continue
		}
		if n++; n == 1 {
			example = l
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d peers are of another backend type, %s among them", n, example.Subnets())
}

// describe says who moves the packets and why, beside what the datapath itself says.
func (c choice) describe(config lease.Config, d *admin.Datapath) {
	d.Kind, d.Why, d.Better, d.Obstacle, d.Notes = c.kind, c.why, c.better, c.word, unheard(config, c.kind)
}

// skipped turns peers that a datapath has no way to into what status lists beside unusable records.
func skipped(problems []kernelmode.Problem) []admin.Problem {
	all := make([]admin.Problem, len(problems))
	for i, p := range problems {
		all[i] = admin.Problem{Key: "peer " + p.Subnet.String(), Reason: p.Reason, Detail: p.Detail}
	}
	return all
}
