package agent

import (
	"fmt"

	"weft/cmd/internal/admin"
	"weft/kernelmode"
	"weft/lease"
)

// The datapaths, as --datapath and status name them.
const (
	auto      = "auto"
	userspace = "userspace"
	inKernel  = "kernel"
)

// A choice is who moves the packets, and what a person should know about it.
type choice struct {
	kind   string // userspace, kernel, or none
	why    string // it is this one
	better string // what would have to change for a faster one; "": there is none
	word   string // for metrics: a fixed word for what stands in a faster one's way; "" for nothing
}

// choose decides for a network, given the wish, what peers there are, and what this kernel can do. The
// error says why the wish can't be had.
func choose(c lease.Config, o Options, others string, probe func(kernelmode.Feature) kernelmode.Capability) (choice, error) {
	if err := o.follows(c); err != nil {
		return choice{}, err
	}
	switch c.BackendType {
	case typeAlloc:
		return choice{kind: "none", why: "backend type alloc only hands out subnets"}, nil
	case typeUDP:
		return choice{kind: userspace, why: "backend type udp is carried in user space",
			better: "the kernel's own VXLAN takes part in a network of backend type vxlan", word: "backend_type"}, nil
	case typeHostGW:
		return choice{kind: inKernel, why: "backend type host-gw is routes in the kernel"}, nil
	}
	switch o.Datapath {
	case userspace:
		return choice{kind: userspace, why: "asked for", better: "--datapath auto, or `weft switch auto`, takes the kernel's where that works", word: "asked"}, nil
	case inKernel:
		if can := probe(featureOf(c)); !can.OK() {
			return choice{}, fmt.Errorf("--datapath kernel: %v; or use auto or userspace", can)
		}
		return choice{kind: inKernel, why: "asked for"}, nil
	}
	return o.fastest(c, others, probe), nil
}

// wordOtherPeers: there are peers that the kernel's datapath can't talk to.
const wordOtherPeers = "other_peers"

// fastest takes the kernel's datapath unless something stands in its way.
func (o Options) fastest(c lease.Config, others string, probe func(kernelmode.Feature) kernelmode.Capability) choice {
	slow := func(word, why, better string) choice {
		return choice{kind: userspace, why: why, better: better, word: word}
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
	if can := probe(featureOf(c)); !can.OK() {
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
