package routes

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// outers counts, for each peer's underlay address, the routes that lead to it: several subnets, or
// several agents, may share one.
type outers struct {
	count *bart.Fast[int]

	// Within one update: copy says that it pays to copy the tree with its first change, own that this was
	// done, and so nobody else sees it.
	copy, own bool

	// inside: some peer's underlay address is, or was since the table was built, covered by a
	// route or by an own subnet, so that packets to it could go round in circles. It only says
	// whether it is worth looking.
	inside bool
}

// KnownOuter reports whether any route leads to this underlay address: whether a datagram from it
// comes from a peer.
func (t *Table) KnownOuter(addr netip.Addr) bool {
	return t.outer.count != nil && t.outer.count.Contains(addr)
}

// Recursive reports whether an inner destination is itself the underlay address of a peer. Packets to
// it must not enter the fabric, since the datagrams that carry them would enter it again. Where
// no route covers any peer's underlay address, as it should be, this costs one comparison.
func (t *Table) Recursive(dst netip.Addr) bool {
	return t.outer.inside && t.KnownOuter(dst)
}

// MayRecurse reports whether Recursive can be true for any address, so that a caller which holds
// addresses in another form needs to convert them only then.
func (t *Table) MayRecurse() bool { return t.outer.inside }

func (o *outers) add(addr netip.Addr) {
	o.change(addr, +1)
}

func (o *outers) remove(addr netip.Addr) {
	o.change(addr, -1)
}

func (o *outers) change(addr netip.Addr, by int) {
	if o.count == nil {
		o.count = new(bart.Fast[int])
	}
	if o.copy && !o.own {
		o.count, o.own = o.count.Clone(), true
	}
	host := netip.PrefixFrom(addr, addr.BitLen())
	counted := func(n int, _ bool) (int, bool) {
		n += by
		return n, n <= 0
	}
	if o.own {
		o.count.Modify(host, counted)
		return
	}
	o.count = o.count.ModifyPersist(host, counted)
}

// copyTree: a persistent change costs as much as so many entries when the whole tree is copied. Without this
// the first snapshot of 15,000 leases took 0.4 s and left 160 MB to the garbage collector.
const copyTree = 128

// begin prepares for so many changes in one update of a table of so many routes, and end ends it.
func (o *outers) begin(changes, routes int) { o.copy = changes*copyTree > routes }

func (o *outers) end() { o.copy, o.own = false, false }
