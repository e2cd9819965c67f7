package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"weft/cmd/internal/admin"
	"weft/kernelmode"
	"weft/lease"
)

// kernelPath is the datapath of the kernel's own devices and routes. Nothing of it runs here: what is
// planned stays in place when the agent ends, and goes on moving packets, as flannel's does.
type kernelPath struct {
	fabric    fabric
	leftovers []string
	planned   atomic.Pointer[planned]
}

// planned is what a snapshot comes to.
type planned struct {
	state    kernelmode.State
	problems []kernelmode.Problem
	peers    []admin.Peer
}

// openKernel plans for the snapshot; the devices are made when the plan is applied.
func (s *session) openKernel(snapshot *lease.Snapshot) (*kernelPath, error) {
	devices := s.fabric.devices()
	k := &kernelPath{fabric: s.fabric, leftovers: s.leftovers(devices...)}
	if _, err := k.follow(snapshot); err != nil {
		return nil, err
	}
	s.making(devices)
	return k, nil
}

// follow plans anew.
func (k *kernelPath) follow(s *lease.Snapshot) (changed int, err error) {
	h := kernelmode.Host{
		Config: s.Config, Underlay: k.fabric.underlay, Own: k.fabric.own, Snapshot: s,
		MAC: k.fabric.vtep.mac, MAC6: k.fabric.vtep.mac6, Forwarding: true, Leftovers: k.leftovers,
	}
	var next planned
	switch s.Config.BackendType {
	case typeVXLAN:
		next.state, next.problems, err = kernelmode.VXLANPlan(h)
	case typeHostGW:
		next.state, next.problems, err = kernelmode.HostGWPlan(h)
	case typeIPIP:
		next.state, next.problems, err = kernelmode.IPIPPlan(h)
	default:
		err = fmt.Errorf("planning the kernel's datapath: backend type %s has none", s.Config.BackendType)
	}
	if err != nil {
		return 0, err
	}
	next.peers = k.peers(s, next.state.Routes)
	before := k.planned.Swap(&next)
	if before == nil {
		return len(next.state.Routes), nil
	}
	return differing(before.state.Routes, next.state.Routes), nil
}

// differing counts the routes of one list that the other doesn't have, both ways; a changed one is one.
func differing(a, b []kernelmode.Route) int {
	have := make(map[netip.Prefix]kernelmode.Route, len(a))
	for _, r := range a {
		have[r.Dst] = r
	}
	n := 0
	for _, r := range b {
		if old, ok := have[r.Dst]; !ok || old != r {
			n++
		}
		delete(have, r.Dst)
	}
	return n + len(have)
}

// peers lists those that a route leads to.
func (k *kernelPath) peers(s *lease.Snapshot, planned []kernelmode.Route) []admin.Peer {
	by := make(map[netip.Prefix]kernelmode.Route, len(planned))
	for _, r := range planned {
		by[r.Dst] = r
	}
	all := make([]admin.Peer, 0, len(planned))
	for _, l := range s.Leases {
		for _, to := range []struct {
			subnet netip.Prefix
			outer  netip.Addr
		}{{l.Subnet, l.Attrs.PublicIP}, {l.Subnet6, l.Attrs.PublicIPv6}} {
			if r, ok := by[to.subnet.Masked()]; ok && to.subnet.IsValid() {
				all = append(all, admin.Peer{Subnet: to.subnet, Outer: netip.AddrPortFrom(to.outer, uint16(s.Config.Options.Port)), MTU: k.mtu(r)})
			}
		}
	}
	slices.SortFunc(all, func(a, b admin.Peer) int { return a.Subnet.Addr().Compare(b.Subnet.Addr()) })
	return all
}

// mtu is what a route's device takes.
func (k *kernelPath) mtu(r kernelmode.Route) int {
	if r.Dev == k.fabric.underlay.Name {
		return k.fabric.underlay.MTU
	}
	return k.fabric.underlayMTU() - overhead(k.fabric.config.BackendType, r.Dst.Addr().Is4())
}

func (k *kernelPath) plan() kernelmode.State { return k.planned.Load().state }

// close leaves all in place.
func (k *kernelPath) close() {}

// describe says what the kernel was told, and what its devices counted since they were made.
func (k *kernelPath) describe(state *admin.State) {
	now := k.planned.Load()
	device := k.fabric.underlay.Name
	if devices := k.fabric.devices(); len(devices) > 0 {
		device = devices[0]
	}
	state.Datapath = admin.Datapath{Device: device, MTU: k.fabric.mtu(), Port: k.fabric.config.Options.Port}
	state.Traffic = deviceCounts(k.fabric.devices())
	state.Peers = now.peers
	state.Problems = slices.Concat(state.Problems, skipped(now.problems))
}
