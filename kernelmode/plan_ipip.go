package kernelmode

import (
	"fmt"
	"net/netip"
)

// IPIPDevice is the name of the ipip backend's device, as flannel has it.
const IPIPDevice = "flannel.ipip"

// IPIPPlan returns the kernel state of the ipip backend as flannel lays it out: one device without a
// fixed remote end, with the subnet's base address as a host address, and a route for each peer via its
// outer address, which the device sends to. With DirectRouting the route of a peer on the same link
// leads out of the underlay instead. IPv6 isn't carried.
func IPIPPlan(h Host) (State, []Problem, error) {
	var problems []Problem
	if h.Config.EnableIPv6 {
		problems = append(problems, Problem{Subnet: h.Own.Subnet6, Reason: NoIPv6, Detail: fmt.Sprintf(
			"ipip carries IPv4 alone, and network %s stays unconnected: use vxlan", h.Config.IPv6Network)})
		h.Config.EnableIPv6 = false
		h.Config.IPv6Network = netip.Prefix{}
	}
	sides, err := h.sides()
	if err != nil {
		return State{}, nil, err
	}
	f := sides[0]
	mtu, err := h.innerMTU(f, OverheadIPIP4)
	if err != nil {
		return State{}, nil, err
	}
	s := h.state(sides)
	s.Links = []Link{{
		// Its own end is named, which tells it apart from tunl0, the module's catch-all.
		Name: IPIPDevice, Kind: LinkIPIP, MTU: mtu, Up: true, IPIP: IPIP{Local: f.local},
	}}
	s.Addresses = []Address{{Dev: IPIPDevice, Prefix: f.base()}}
	leases, skipped := h.peers()
	peers, more := f.of(leases)
	onLink := h.Underlay.OnLink.Prefixes()
	for _, p := range peers {
		r := f.direct(p, h.Underlay)
		r.Onlink = true // flannel sets it for both
		if !h.Config.Options.DirectRouting || !contains(onLink, p.outer) {
			r.Dev = IPIPDevice
		}
		s.Routes = append(s.Routes, r)
	}
	s, err = h.beside(s)
	return s, append(append(problems, skipped...), more...), err
}
