package routes

import (
	"encoding/binary"
	"net/netip"
)

// each yields every route in order of address, the shorter of two first, until yield returns false. v4
// says how the addresses are to be read.
func (t *trie) each(v4 bool, yield func(netip.Prefix, *Hop) bool) bool {
	return t.root == nil || t.root.each(place{hi: t.hi, lo: t.lo, depth: t.depth}, func(p place, hop *Hop) bool {
		return yield(p.subnet(v4), hop)
	})
}

// each yields the routes of n and below. at is the way to n: the bytes in front of its own.
func (n *node) each(at place, yield func(place, *Hop) bool) bool {
	ends := n.own.routes
	own := func(most int) bool { // those that come before a child
		for len(ends) > 0 && int(ends[0].value) <= most {
			p := at
			p.setByte(at.depth, ends[0].value)
			p.bits = ends[0].bits
			if !yield(p, ends[0].hop) {
				return false
			}
			ends = ends[1:]
		}
		return true
	}
	for value := range 256 {
		i, ok := n.child(uint8(value))
		if !ok {
			continue
		}
		below := at
		below.setByte(at.depth, uint8(value))
		below.depth++
		if !own(value) || !n.children[i].each(below, yield) {
			return false
		}
	}
	return own(255)
}

// subnet is the inverse of placeOf.
func (p *place) subnet(v4 bool) netip.Prefix {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], p.hi)
	binary.BigEndian.PutUint64(b[8:], p.lo)
	addr := netip.AddrFrom16(b)
	if v4 {
		addr = netip.AddrFrom4([4]byte(b[:]))
	}
	return netip.PrefixFrom(addr, int(8*p.depth+p.bits))
}
