package routes

import (
	"fmt"
	"net/netip"
)

// With returns the table with the changes applied in order; t itself stays as it is. A change that
// repeats what is there (the same subnet with an equal hop) keeps the Hop that is there, and with
// it the path MTU learned so far. Removing what isn't there is no error. A bad change spoils the
// whole update: the error names it and t remains the one to use.
//
// Cost: a copy of 4 KB for each page of 512 subnets touched, however many changes fall on it. For a route
// that isn't of the network's subnet length, a copy of the two or three nodes above it, each once too.
func (t *Table) With(changes ...Route) (*Table, error) {
	next := *t
	u := update{pages: t.index.edit()}
	next.outer.begin(len(changes), t.size)
	for _, c := range changes {
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("changing route %v: %w", c.Subnet, err)
		}
		next.apply(&u, c)
	}
	next.outer.end()
	return &next, nil
}

func (c Route) check() error {
	switch {
	case !c.Subnet.IsValid() || c.Subnet.Addr().Is4In6():
		return fmt.Errorf("not an IPv4 or IPv6 subnet")
	case c.Subnet != c.Subnet.Masked():
		return fmt.Errorf("bits set behind the prefix length: use %v", c.Subnet.Masked())
	case c.Hop != nil && (!c.Hop.Outer.IsValid() || c.Hop.Outer.Addr().Is4In6()):
		return fmt.Errorf("hop has no usable outer address (%v)", c.Hop.Outer)
	}
	return nil
}

// An update is what With has copied so far.
type update struct {
	pages edit
	nodes *batch // nil before the first change of a trie
}

// apply makes one checked change to a table that nobody else sees yet.
func (t *Table) apply(u *update, c Route) {
	old := t.exact(c.Subnet)
	if old == nil && c.Hop == nil || old != nil && c.Hop != nil && old.same(c.Hop) {
		return
	}
	t.count(old, c)
	if slot, indexed := t.index.holds(c.Subnet); indexed {
		u.pages.set(slot, c.Hop)
		t.index = u.pages.index
		return
	}
	if u.nodes == nil {
		u.nodes = new(batch)
	}
	if tree := t.tree(c.Subnet); c.Hop == nil {
		*tree = u.nodes.remove(*tree, c.Subnet)
	} else {
		*tree = u.nodes.put(*tree, c.Subnet, c.Hop)
	}
}

// tree returns the trie that a subnet without a slot belongs to.
func (t *Table) tree(subnet netip.Prefix) *trie {
	switch {
	case !subnet.Addr().Is4():
		return &t.rest6
	case t.index.slots != 0 && subnet.Bits() > 32-int(t.index.shift):
		return &t.longer
	}
	return &t.rest4
}

// count keeps the size and the underlay addresses in step with one change.
func (t *Table) count(old *Hop, c Route) {
	if old != nil {
		t.size--
	}
	if c.Hop != nil {
		t.size++
	}
	sameOuter := old != nil && c.Hop != nil && old.Outer.Addr() == c.Hop.Outer.Addr()
	if !sameOuter {
		if c.Hop != nil {
			t.outer.add(c.Hop.Outer.Addr())
		}
		if old != nil {
			t.outer.remove(old.Outer.Addr())
		}
	}
	if c.Hop != nil && !t.outer.inside {
		addr := c.Hop.Outer.Addr()
		t.outer.inside = t.outer.count.OverlapsPrefix(c.Subnet) || t.Local(addr) || t.Lookup(addr) != nil
	}
}

// same reports whether two hops lead the same way; what was learned about the path doesn't count.
func (h *Hop) same(o *Hop) bool {
	return h == o || h.Outer == o.Outer && h.Encapsulation == o.Encapsulation &&
		h.VTEPMAC == o.VTEPMAC && h.VNI == o.VNI && h.RemoteSums == o.RemoteSums && h.Echoes == o.Echoes && h.ZeroSums == o.ZeroSums
}
