package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"weft/lease"
)

// A migration is a network between two backend types, as config and leases say it.
type migration struct {
	config   lease.Config
	revision int64 // of the config
	from, to string
	hosts    []migrant // sorted by subnet
}

// A migrant is one public address and what is leased under it: agents that share an address move together.
type migrant struct {
	addr    netip.Addr
	subnets []lease.Subnets
	kind    string // backend type that its lease says
	ready   bool   // it takes both formats
	moved   bool   // the config has it on the other side
}

// migrationOf reads the state from what is in the store. The error is for a network that isn't on
// this way at all.
func migrationOf(c lease.Config, revision int64, leases []lease.Lease, from, to string) (migration, error) {
	m := migration{config: c, revision: revision, from: from, to: to}
	switch goal := c.Migration; {
	case goal != nil && (c.BackendType != from || goal.To.BackendType != to):
		return m, fmt.Errorf("the network is on its way from %s to %s: go on with weft migrate %s %s, or back with --undo",
			c.BackendType, goal.To.BackendType, c.BackendType, goal.To.BackendType)
	case goal == nil && c.BackendType != from && c.BackendType != to:
		return m, fmt.Errorf("the network is of backend type %s, not %s: weft migrate moves networks between udp and vxlan", c.BackendType, from)
	}
	for _, l := range leases {
		m.add(l)
	}
	slices.SortStableFunc(m.hosts, func(a, b migrant) int {
		return cmp.Or(a.subnets[0].V4.Addr().Compare(b.subnets[0].V4.Addr()), a.subnets[0].V6.Addr().Compare(b.subnets[0].V6.Addr()))
	})
	return m, nil
}

func (m *migration) add(l lease.Lease) {
	addr := l.Attrs.PublicIP
	if !addr.IsValid() {
		addr = l.Attrs.PublicIPv6
	}
	kind := l.Attrs.BackendType
	if kind == "" {
		kind = "udp" // whose leases say nothing (flannel)
	}
	w, _ := l.Attrs.Weft()
	ready := w.Caps&lease.CapMigrates != 0
	if i := slices.IndexFunc(m.hosts, func(h migrant) bool { return h.addr == addr }); i >= 0 {
		h := &m.hosts[i]
		h.subnets, h.ready = append(h.subnets, l.Subnets()), h.ready && ready
		if h.kind != kind {
			h.kind = h.kind + " and " + kind
		}
		return
	}
	moved := m.config.Migration != nil && m.config.Migration.Moved(l.Attrs.PublicIP, l.Attrs.PublicIPv6)
	m.hosts = append(m.hosts, migrant{addr: addr, subnets: []lease.Subnets{l.Subnets()}, kind: kind, ready: ready, moved: moved})
}

// String names the host by its subnet and address.
func (h migrant) String() string { return fmt.Sprintf("%s at %s", h.subnets[0].CIDR(), h.addr) }

// under: it is begun and not ended.
func (m migration) under() bool { return m.config.Migration != nil }

// movedHosts lists the addresses that the config has, also of hosts that have no lease any more.
func (m migration) movedHosts() []netip.Addr {
	if m.config.Migration == nil {
		return nil
	}
	return slices.Clone(m.config.Migration.Hosts)
}

// count is how many of the hosts with a lease have moved.
func (m migration) count() (moved int) {
	for _, h := range m.hosts {
		if h.moved {
			moved++
		}
	}
	return moved
}

// host finds one by any of its addresses.
func (m migration) host(addr netip.Addr) (migrant, bool) {
	i := slices.IndexFunc(m.hosts, func(h migrant) bool {
		return h.addr == addr || slices.ContainsFunc(h.subnets, func(s lease.Subnets) bool {
			return s.V4.IsValid() && s.V4.Contains(addr) || s.V6.IsValid() && s.V6.Contains(addr)
		})
	})
	if i < 0 {
		return migrant{}, false
	}
	return m.hosts[i], true
}
