package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"weft/cmd/internal/admin"
	"weft/cmd/internal/selfcheck"
	"weft/lease"
)

// A witness asks hosts through the fabric, from the host that this command runs on. A nil one asks nobody.
type witness struct {
	own  lease.Subnets
	addr []netip.Addr // this host's public ones
}

// call finds out whether this host is part of the network.
func (w *walk) call(ctx context.Context) *witness {
	state, _, err := admin.Ask(ctx, w.socket)
	if err != nil || !state.Ready || state.Lease == nil {
		_ = w.say("no agent carries packets here: hosts are not asked through the fabric, their leases are all that is looked at")
		return nil
	}
	return &witness{
		own:  lease.Subnets{V4: state.Lease.Subnet, V6: state.Lease.Subnet6},
		addr: []netip.Addr{state.Host.PublicIP, state.Host.PublicIPv6},
	}
}

// An inquiry is what hosts answered before a step.
type inquiry struct {
	asked  bool
	result selfcheck.Result
}

// ask asks the host that is to move; or all others, where that is this one.
func (w *witness) ask(ctx context.Context, m migration, moving netip.Addr) inquiry {
	if w == nil || !moving.IsValid() {
		return inquiry{}
	}
	var peers []selfcheck.Peer
	here := slices.Contains(w.addr, moving)
	for _, other := range m.hosts {
		if here == (other.addr == moving) {
			continue
		}
		for _, s := range other.subnets {
			for _, subnet := range []netip.Prefix{s.V4, s.V6} {
				if subnet.IsValid() && s != w.own {
					peers = append(peers, selfcheck.Peer{Subnet: subnet, Outer: other.addr})
				}
			}
		}
	}
	return inquiry{true, selfcheck.Probe(ctx, peers)}
}

// probes is how often those that answered are asked again: the new lease reaches hosts a moment after it is
// in the store.
const probes = 3

// missed says who doesn't answer any more, or "".
func (w *witness) missed(ctx context.Context, before inquiry) string {
	if w == nil || !before.asked {
		return ""
	}
	var v selfcheck.Verdict
	for range probes {
		if v = selfcheck.Compare(before.result, selfcheck.Probe(ctx, before.result.Answering())); v.OK || ctx.Err() != nil {
			return ""
		}
	}
	return v.Why
}

// note says what stands behind a step that went well.
func (i inquiry) note() string {
	switch n := len(i.result.Answering()); {
	case !i.asked:
		return ""
	case n == 0:
		return " (by its lease; it didn't answer through the fabric before either)"
	case n == 1:
		return " and answers through the fabric"
	default:
		return fmt.Sprintf(", and %d subnets answer through the fabric", n)
	}
}
