package routes

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// A trie is the longest-prefix table of one address family: eight bits of address a node, from the byte
// on in which the routes begin to differ. In the ordinary network that leaves two or three nodes to
// walk through, whatever the family: all routes share the network's bytes, which are compared once.
//
// As a value it is immutable. A batch derives the next one, and copies the nodes on the way to what it changes.
//
// The nodes are small on purpose. With a million routes the time of a lookup is that of the memory it
// touches, and a node with its hops is four cache lines where an array of 256 pointers would be 32.
type trie struct {
	root  *node // nil: no routes
	depth uint8 // bytes in front of the root's, the same in all routes: 0 to 15

	// The bytes in front, and which bits they are. IPv4 uses the upper half of hi.
	hi, lo         uint64
	maskHi, maskLo uint64
}

// A node answers for one byte of the address. The routes that end in it (with 1 to 8 bits
// of it, or the default route) cut its 256 values into stretches of one hop each.
//
// The first half, 64 bytes, is all that the last node of a lookup needs, and fits a cache line.
type node struct {
	starts   [4]uint64 // bit set: a stretch begins at this value, as one does at 0
	hops     []*Hop    // of each stretch, nil where no route of this node covers it; empty: none ends here
	before   [4]uint8  // stretches that begin in the words before
	under    [4]uint8  // children in the words before
	branches [4]uint64 // bit set: this value has a child
	children []*node
	own      *own
}

// own is what a node is made from. Lookups don't touch it.
type own struct {
	batch  *batch // may change the node in place
	routes []end  // by value, the shorter first
}

// An end is a route that ends in a node.
type end struct {
	hop   *Hop
	value uint8 // the byte, bits behind the prefix zero
	bits  uint8 // how many of them count: 0 to 8
}

// lookup4 returns the hop of an IPv4 address, nil for none. It is lookup for the family that needs no second
// number, which is worth a tenth of the time.
func (t *trie) lookup4(addr uint32) (best *Hop) {
	if (uint64(addr)<<32^t.hi)&t.maskHi != 0 {
		return nil
	}
	x := addr << (8 * t.depth)
	for n := t.root; n != nil; x <<= 8 {
		value := uint8(x >> 24)
		if len(n.hops) > 0 {
			if hop := n.stretch(value); hop != nil {
				best = hop
			}
		}
		n = n.below(value)
	}
	return best
}

// lookup returns the hop of an address of 16 bytes, as two numbers, nil for none.
func (t *trie) lookup(hi, lo uint64) (best *Hop) {
	if (hi^t.hi)&t.maskHi|(lo^t.lo)&t.maskLo != 0 {
		return nil
	}
	// Go shifts by 64 and more to zero, and a uint8 below 0 wraps around to such a number.
	s := 8 * t.depth
	hi, lo = hi<<s|lo>>(64-s)|lo<<(s-64), lo<<s
	for n := t.root; n != nil; hi, lo = hi<<8|lo>>56, lo<<8 {
		value := uint8(hi >> 56)
		if len(n.hops) > 0 {
			if hop := n.stretch(value); hop != nil {
				best = hop
			}
		}
		n = n.below(value)
	}
	return best
}

// stretch returns the hop of the stretch that a value is in, where any route ends in n.
func (n *node) stretch(value uint8) *Hop {
	word, bit := value>>6, value&63
	return n.hops[n.before[word]+uint8(bits.OnesCount64(n.starts[word]<<(63-bit)))-1]
}

// below returns a value's child, nil for none.
func (n *node) below(value uint8) *node {
	word, bit := value>>6, value&63
	branches := n.branches[word]
	if branches>>bit&1 == 0 {
		return nil
	}
	return n.children[n.under[word]+uint8(bits.OnesCount64(branches&(1<<bit-1)))]
}

// A place is a route's in a trie: the node it ends in, and where there.
type place struct {
	hi, lo uint64 // the address, IPv4 in the upper half of hi
	depth  uint8  // of the node: bytes in front of its own
	value  uint8
	bits   uint8
}

func placeOf(subnet netip.Prefix) (p place) {
	length := subnet.Bits()
	p.depth = uint8(max(length-1, 0) / 8)
	p.bits = uint8(length - 8*int(p.depth))
	if subnet.Addr().Is4() {
		b := subnet.Addr().As4()
		p.hi = uint64(binary.BigEndian.Uint32(b[:])) << 32
	} else {
		b := subnet.Addr().As16()
		p.hi, p.lo = binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	}
	p.value = p.byteAt(p.depth)
	return p
}

// byteAt returns the byte of the address behind depth others.
func (p *place) byteAt(depth uint8) uint8 {
	if depth < 8 {
		return uint8(p.hi >> (56 - 8*depth))
	}
	return uint8(p.lo >> (120 - 8*depth))
}

// setByte writes it where it is zero.
func (p *place) setByte(depth, value uint8) {
	if depth < 8 {
		p.hi |= uint64(value) << (56 - 8*depth)
		return
	}
	p.lo |= uint64(value) << (120 - 8*depth)
}

// shared returns how many leading bytes two addresses share, up to limit.
func (p *place) shared(hi, lo uint64, limit uint8) uint8 {
	equal := bits.LeadingZeros64(p.hi ^ hi)
	if equal == 64 {
		equal += bits.LeadingZeros64(p.lo ^ lo)
	}
	return min(limit, uint8(equal/8))
}

// exact returns the hop of this very route, not of one that covers it.
func (t *trie) exact(subnet netip.Prefix) *Hop {
	p := placeOf(subnet)
	if t.root == nil || p.depth < t.depth || p.shared(t.hi, t.lo, t.depth) < t.depth {
		return nil
	}
	n := t.root
	for depth := t.depth; depth < p.depth; depth++ {
		i, ok := n.child(p.byteAt(depth))
		if !ok {
			return nil
		}
		n = n.children[i]
	}
	if i, ok := n.own.find(p); ok {
		return n.own.routes[i].hop
	}
	return nil
}

// child returns the index of a value's child, or where it would be.
func (n *node) child(value uint8) (i int, ok bool) {
	word, bit := value>>6, value&63
	i = int(n.under[word]) + bits.OnesCount64(n.branches[word]&(1<<bit-1))
	return i, n.branches[word]>>bit&1 != 0
}
