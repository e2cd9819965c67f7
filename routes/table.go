package routes

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// A Layout is what stays the same for the life of a lease: the network's shape and the own subnets.
type Layout struct {
	// Network is the configured IPv4 range and SubnetLen the prefix length of each host's subnet in
	// it (Network.Bits() to 32). Both may be zero, as on a v6-only host: then nothing is indexed
	// and every lookup is a longest-prefix match.
	Network   netip.Prefix
	SubnetLen int

	// Local lists the subnets of this host, one of each family at most.
	Local []netip.Prefix
}

// A Route is one subnet and the hop that its packets take. In a change, a nil Hop takes the
// subnet's route away.
type Route struct {
	Subnet netip.Prefix // masked: no bits set behind its length
	Hop    *Hop
}

// A Table maps inner addresses to hops. It is immutable: With returns the next one.
//
// Lookups of any kind allocate nothing, take no lock and never fail; nil means no route.
type Table struct {
	index  index // IPv4 subnets of exactly the network's subnet length
	longer trie  // longer ones
	rest4  trie  // all other IPv4 ones
	rest6  trie
	local  local
	outer  outers
	layout Layout
	size   int
}

// New builds a table. The routes may come in any order; of two for one subnet the later one wins.
func New(layout Layout, routes []Route) (*Table, error) {
	idx, err := newIndex(layout.Network, layout.SubnetLen)
	if err != nil {
		return nil, fmt.Errorf("building route table for %v: %w", layout.Network, err)
	}
	own, err := newLocal(layout.Local)
	if err != nil {
		return nil, fmt.Errorf("building route table for %v: %w", layout.Network, err)
	}
	t := &Table{index: idx, local: own, layout: layout}
	return t.With(routes...)
}

// Lookup4 returns the hop for an IPv4 address given as a big-endian number: 10.1.2.3 is 0x0a010203.
func (t *Table) Lookup4(addr uint32) *Hop {
	if t.longer.root != nil {
		if hop := t.longer.lookup4(addr); hop != nil {
			return hop
		}
	}
	if hop := t.index.lookup(addr); hop != nil || t.rest4.root == nil {
		return hop
	}
	return t.rest4.lookup4(addr)
}

// Lookup6 returns the hop for an IPv6 address. A v4-mapped one has none: it is not an inner address.
func (t *Table) Lookup6(addr [16]byte) *Hop {
	hi, lo := binary.BigEndian.Uint64(addr[:8]), binary.BigEndian.Uint64(addr[8:])
	if hi == 0 && lo>>32 == 0xffff {
		return nil
	}
	return t.rest6.lookup(hi, lo)
}

// Lookup returns the hop for an address of either family; nil for the zero Addr.
func (t *Table) Lookup(addr netip.Addr) *Hop {
	switch {
	case addr.Is4():
		b := addr.As4()
		return t.Lookup4(binary.BigEndian.Uint32(b[:]))
	case addr.Is6():
		return t.Lookup6(addr.As16())
	}
	return nil
}

// Layout returns what the table was built for. The caller must not change its Local.
func (t *Table) Layout() Layout { return t.layout }

// Size returns the number of routes.
func (t *Table) Size() int { return t.size }

func addr4(addr uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(addr >> 24), byte(addr >> 16), byte(addr >> 8), byte(addr)})
}
