package routes

import (
	"cmp"
	"math/bits"
	"net/netip"
	"slices"
)

// A batch is the changes of one update. It copies each node that it touches once, and changes its own
// copies in place from then on, so that a table of a million routes is not copied a million times
// while it is built. It is over when the update is: the next one is another batch.
type batch struct {
	_ byte // two batches must not have one address
}

// put returns the trie with the route, in the place of the one there was for this subnet.
func (b *batch) put(t trie, subnet netip.Prefix, hop *Hop) trie {
	p := placeOf(subnet)
	if t.root == nil {
		t.front(p.hi, p.lo, p.depth)
	} else {
		for top := min(p.depth, p.shared(t.hi, t.lo, t.depth)); t.depth > top; {
			above := b.newNode()
			at := place{hi: t.hi, lo: t.lo}
			above.setChild(at.byteAt(t.depth-1), t.root)
			t.root = above
			t.front(t.hi, t.lo, t.depth-1)
		}
	}
	t.root = b.mine(t.root)
	n := t.root
	for depth := t.depth; depth < p.depth; depth++ {
		value := p.byteAt(depth)
		i, ok := n.child(value)
		if ok {
			n.children[i] = b.mine(n.children[i])
		} else {
			n.setChild(value, b.newNode())
		}
		n = n.children[i]
	}
	i, ok := n.own.find(p)
	if ok {
		n.own.routes[i].hop = hop
	} else {
		n.own.routes = slices.Insert(n.own.routes, i, end{hop: hop, value: p.value, bits: p.bits})
	}
	n.paint()
	return t
}

// remove returns the trie without a route that it has.
func (b *batch) remove(t trie, subnet netip.Prefix) trie {
	p := placeOf(subnet)
	t.root = b.without(t.root, &p, t.depth)
	for t.root != nil && len(t.root.own.routes) == 0 && len(t.root.children) == 1 {
		at := place{hi: t.hi, lo: t.lo}
		at.setByte(t.depth, t.root.first())
		t.root = t.root.children[0]
		t.front(at.hi, at.lo, t.depth+1)
	}
	if t.root == nil {
		return trie{}
	}
	return t
}

// without returns n without a route in it or below; nil when nothing is left.
func (b *batch) without(n *node, p *place, depth uint8) *node {
	n = b.mine(n)
	if depth == p.depth {
		i, _ := n.own.find(*p)
		n.own.routes = slices.Delete(n.own.routes, i, i+1)
		n.paint()
	} else {
		value := p.byteAt(depth)
		i, _ := n.child(value)
		n.setChild(value, b.without(n.children[i], p, depth+1))
	}
	if len(n.own.routes) == 0 && len(n.children) == 0 {
		return nil
	}
	return n
}

// first returns the lowest value that has a child.
func (n *node) first() uint8 {
	for word, branches := range n.branches {
		if branches != 0 {
			return uint8(64*word + bits.TrailingZeros64(branches))
		}
	}
	return 0
}

// front makes the first depth bytes of an address those in front of the root.
func (t *trie) front(hi, lo uint64, depth uint8) {
	t.depth = depth
	// Go shifts by 64 and more to zero; a shift by a negative number, wrapped around, is one of those.
	t.maskHi, t.maskLo = ^(^uint64(0) >> (8 * depth)), 0
	if depth > 8 {
		t.maskLo = ^(^uint64(0) >> (8*depth - 64))
	}
	t.hi, t.lo = hi&t.maskHi, lo&t.maskLo
}

func (b *batch) newNode() *node {
	n := &node{own: &own{batch: b}}
	n.paint()
	return n
}

// mine returns a node that this batch may change: n itself if it was made by it, else a copy.
func (b *batch) mine(n *node) *node {
	switch {
	case n == nil:
		return b.newNode()
	case n.own.batch == b:
		return n
	}
	c := *n
	c.children = slices.Clone(n.children)
	c.own = &own{batch: b, routes: slices.Clone(n.own.routes)}
	return &c
}

// setChild puts a child at a value, or takes it away with nil.
func (n *node) setChild(value uint8, child *node) {
	i, ok := n.child(value)
	switch {
	case ok && child != nil:
		n.children[i] = child
		return
	case ok:
		n.children = slices.Delete(n.children, i, i+1)
	case child != nil:
		n.children = slices.Insert(n.children, i, child)
	default:
		return
	}
	n.branches[value>>6] ^= 1 << (value & 63)
	n.under = ranks(&n.branches)
}

// paint cuts the node's values into stretches anew. A route comes after all that cover it, and so
// overwrites its part of them.
func (n *node) paint() {
	n.starts, n.hops = [4]uint64{1}, nil
	if len(n.own.routes) > 0 {
		var hops [256]*Hop
		for _, r := range n.own.routes {
			part := hops[r.value:][:256>>r.bits]
			for i := range part {
				part[i] = r.hop
			}
		}
		for i := 1; i < len(hops); i++ {
			if hops[i] != hops[i-1] {
				n.starts[i>>6] |= 1 << (i & 63)
			}
		}
		n.hops = make([]*Hop, 0, ones(&n.starts))
		for i, hop := range hops {
			if n.starts[i>>6]>>(i&63)&1 != 0 {
				n.hops = append(n.hops, hop)
			}
		}
	}
	n.before = ranks(&n.starts)
}

// ranks counts, for each word, the bits of the words before: 192 at most.
func ranks(words *[4]uint64) (before [4]uint8) {
	for i := range 3 {
		before[i+1] = before[i] + uint8(bits.OnesCount64(words[i]))
	}
	return before
}

func ones(words *[4]uint64) (n int) {
	for _, w := range words {
		n += bits.OnesCount64(w)
	}
	return n
}

// find returns where a route is among a node's own, or where it would be.
func (o *own) find(p place) (i int, ok bool) {
	return slices.BinarySearchFunc(o.routes, p, func(e end, p place) int {
		return cmp.Or(cmp.Compare(e.value, p.value), cmp.Compare(e.bits, p.bits))
	})
}
