package kernelmode

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"weft/lease"
)

// Reasons why a plan leaves a peer out: fixed words, fit for a counter's label.
const (
	OtherBackend   = "other_backend"    // the peer's lease is of another backend type
	OtherVNI       = "other_vni"        // the peer's VXLAN network has another number
	OwnPort        = "own_port"         // the peer listens at a port of its own
	NoOuterAddress = "no_outer_address" // the lease has no address of the needed family
	OwnAddress     = "own_address"      // the lease claims this host's address
	BadBackendData = "bad_backend_data" // missing, or not to be understood
	BadMAC         = "bad_mac"          // no host can have it
	DuplicateMAC   = "duplicate_mac"    // another peer, or this host, has it
	NotOnLink      = "not_on_link"      // a gateway is between the hosts
	NoIPv6         = "no_ipv6"          // the backend type carries IPv4 only
)

// A Problem is a peer that a plan has no place for; the others are unharmed.
type Problem struct {
	Subnet netip.Prefix // of the peer
	Reason string       // one of the constants above
	Detail string       // what a person should know, with the remedy
}

// String names the peer by its subnet.
func (p Problem) String() string { return fmt.Sprintf("peer %s: %s", p.Subnet, p.Detail) }

// A peer is one family of another host's lease.
type peer struct {
	lease  lease.Lease
	subnet netip.Prefix
	outer  netip.Addr
	data   json.RawMessage // of the family
}

func (p peer) problem(reason, format string, args ...any) Problem {
	return Problem{Subnet: p.subnet, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// peers returns the leases of other hosts that the kernel datapath is for. Those of another backend type
// are skipped, as flannel does, which is worth a Problem only where no other datapath takes them.
func (h Host) peers() ([]lease.Lease, []Problem) {
	if h.Snapshot == nil {
		return nil, nil
	}
	own := h.Own.Subnets()
	all := make([]lease.Lease, 0, len(h.Snapshot.Leases))
	var problems []Problem
	for _, l := range h.Snapshot.Leases {
		switch {
		case l.Subnets() == own, h.Leave != nil && h.Leave(l):
		case l.Attrs.BackendType == h.Config.BackendType:
			all = append(all, l)
		case h.Beside == nil:
			problems = append(problems, otherBackend(l, h.Config.BackendType))
		}
	}
	return all, problems
}

func otherBackend(l lease.Lease, want string) Problem {
	subnet, have := l.Subnet, l.Attrs.BackendType
	if !subnet.IsValid() {
		subnet = l.Subnet6
	}
	if have == "" {
		have = "udp or alloc"
	}
	return Problem{Subnet: subnet, Reason: OtherBackend, Detail: fmt.Sprintf(
		"its backend type is %s, and this network's is %s: restart its agent, or give both hosts a userspace datapath while the network migrates (weft migrate)", have, want)}
}

// of picks one family out of the leases. A host without a subnet of the family takes no part in it,
// which is no fault.
func (s side) of(leases []lease.Lease) ([]peer, []Problem) {
	all := make([]peer, 0, len(leases))
	var problems []Problem
	for _, l := range leases {
		p := peer{lease: l, subnet: l.Subnet, outer: l.Attrs.PublicIP, data: l.Attrs.BackendData}
		if s.is6() {
			p = peer{lease: l, subnet: l.Subnet6, outer: l.Attrs.PublicIPv6, data: l.Attrs.BackendV6Data}
		}
		switch {
		case !p.subnet.IsValid():
		case !p.outer.IsValid():
			problems = append(problems, p.problem(NoOuterAddress, "its lease has no outer %s address: it needs one to carry %s", s.name, s.name))
		case p.outer == s.local || p.outer == s.public:
			problems = append(problems, p.problem(OwnAddress, "its outer address %s is this host's own: one of the two leases is stale, or the address is used twice", p.outer))
		default:
			p.subnet = p.subnet.Masked()
			all = append(all, p)
		}
	}
	return all, problems
}

// direct is the route to a peer on the same link, without encapsulation.
func (s side) direct(p peer, u Underlay) Route {
	return Route{Dst: p.subnet, Via: p.outer, Dev: u.Name, Metric: s.metric, Protocol: RouteProtocol}
}
