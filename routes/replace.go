package routes

import (
	"iter"
	"net/netip"
)

// Replace returns a table of exactly these routes, and how many of them differ from t's: what a
// consumer of whole snapshots calls. Hops that lead the same way as before are carried over with
// the path MTU learned so far, and when nothing differs the result is t itself.
func (t *Table) Replace(routes []Route) (next *Table, changed int, err error) {
	wanted := make(map[netip.Prefix]bool, len(routes))
	for _, r := range routes {
		wanted[r.Subnet] = r.Hop != nil
	}
	var changes []Route
	for subnet := range t.All() {
		if !wanted[subnet] {
			changes = append(changes, Route{Subnet: subnet})
		}
	}
	for _, r := range routes {
		if old := t.exact(r.Subnet); r.Hop != nil && (old == nil || !old.same(r.Hop)) {
			changes = append(changes, r)
		}
	}
	if len(changes) == 0 {
		return t, 0, nil
	}
	next, err = t.With(changes...)
	return next, len(changes), err
}

// All yields every route, those of the network's subnet length first and in order of address.
func (t *Table) All() iter.Seq2[netip.Prefix, *Hop] {
	return func(yield func(netip.Prefix, *Hop) bool) {
		for i, p := range t.index.root {
			for j, hop := range p {
				slot := uint32(i)<<pageBits + uint32(j)
				if hop != nil && !yield(t.index.subnet(slot), hop) {
					return
				}
			}
		}
		_ = t.longer.each(true, yield) && t.rest4.each(true, yield) && t.rest6.each(false, yield)
	}
}

// exact returns the hop of this very subnet, not of one that covers it.
func (t *Table) exact(subnet netip.Prefix) *Hop {
	if slot, ok := t.index.holds(subnet); ok {
		return t.index.lookup(t.index.base + slot<<t.index.shift)
	}
	return t.tree(subnet).exact(subnet)
}
