package kernelmode

import "fmt"

// HostGWPlan returns the kernel state of the host-gw backend as flannel lays it out: no device, and one
// route for each peer, its subnet via its address on the underlay. That only works where no gateway is
// between the hosts: peers elsewhere are named in the problems. A peer that changes its address gets
// its route changed in place.
func HostGWPlan(h Host) (State, []Problem, error) {
	sides, err := h.sides()
	if err != nil {
		return State{}, nil, err
	}
	s := h.state(sides)
	leases, problems := h.peers()
	onLink := h.Underlay.OnLink.Prefixes()
	for _, f := range sides {
		if f.public.IsValid() && f.public != f.local {
			return State{}, nil, fmt.Errorf("planning the host-gw datapath for %s: the advertised address %s is not on %s (%s): behind a NAT peers can't route to this host; use vxlan, or drop --public-ip",
				f.name, f.public, h.Underlay.Name, f.local)
		}
		peers, skipped := f.of(leases)
		problems = append(problems, skipped...)
		for _, p := range peers {
			if !contains(onLink, p.outer) {
				problems = append(problems, p.problem(NotOnLink,
					"its address %s is in none of the networks of %s (%s): host-gw needs all hosts on one link; use vxlan, or vxlan with DirectRouting for the hosts that are",
					p.outer, h.Underlay.Name, h.Underlay.OnLink))
				continue
			}
			s.Routes = append(s.Routes, f.direct(p, h.Underlay))
		}
	}
	s, err = h.beside(s)
	return s, problems, err
}
