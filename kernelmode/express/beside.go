package express

import "net/netip"

// beside is what packets have to be checked against besides the index, where there is anything at all. It lies
// in the place of hop 0. But for detour and cuts it only ever grows: a look too many costs a little, one too few a packet.
type beside struct {
	prefixes4 bool   // the trie has IPv4 prefixes
	recursive bool   // some route covers a peer's outer address: see routes.Table.Recursive
	cuts      bool   // the underlay device cuts superpackets in software: see bpf/bulk.h
	detour    uint32 // the device that superpackets go round by, 0 for none: see bpf/detour.h
	span4     netip.Prefix
	span6     netip.Prefix // the smallest prefixes around all that have been in the trie
}

// publishBeside writes the flags where the programs look for them. Each word stands for itself, so that a packet that
// sees some new and some old ones is no harm.
func (t *table) publishBeside() {
	var h laneHop
	if t.beside.prefixes4 {
		h.Outer[0] = 1
	}
	if t.beside.recursive {
		h.Outer[1] = 1
	}
	if t.beside.cuts {
		h.Outer[2] = 1
	}
	h.Outer[3] = t.beside.detour
	t.store.SetHop(0, h)
}

// widen notes that the trie is about to hold a prefix.
func (t *table) widen(p netip.Prefix) {
	span, before := &t.beside.span6, t.beside
	if p.Addr().Is4() {
		span, t.beside.prefixes4 = &t.beside.span4, true
	}
	*span = around(*span, p)
	if t.beside == before {
		return
	}
	// Only a span that grew can cover a peer that it didn't cover before, so this loop is rare.
	for outer := range t.outers {
		t.beside.recursive = t.beside.recursive || t.covered(outer)
	}
	t.publishBeside()
}

// watch notes a peer's outer address.
func (t *table) watch(outer netip.Addr) {
	if !t.beside.recursive && t.covered(outer) {
		t.beside.recursive = true
		t.publishBeside()
	}
}

// covered reports whether a route may lead to the address. It may say so too often: a span is what lies between
// prefixes, too, and the index has slots without a route. Packets are then asked one by one.
func (t *table) covered(outer netip.Addr) bool {
	return t.beside.span4.IsValid() && t.beside.span4.Contains(outer) ||
		t.beside.span6.IsValid() && t.beside.span6.Contains(outer) || t.shape.covers(outer)
}

// covers reports whether the address is inside the indexed range.
func (s shape) covers(a netip.Addr) bool {
	if !a.Is4() || s.subnets == 0 {
		return false
	}
	_, ok := s.slot(netip.PrefixFrom(a, 32-int(s.shift)).Masked())
	return ok
}

// around returns the smallest prefix that holds both; an invalid one is nothing.
func around(a, b netip.Prefix) netip.Prefix {
	if !a.IsValid() {
		return b
	}
	bits := min(a.Bits(), b.Bits())
	for ; ; bits-- {
		if p := netip.PrefixFrom(a.Addr(), bits).Masked(); p.Contains(b.Addr()) {
			return p
		}
	}
}

// follow notes what superpackets meet on their way now: the device that incoming ones go round by (0: straight into the
// TUN), and whether the underlay cuts outgoing ones.
func (t *table) follow(detour uint32, cuts bool) {
	if t.beside.detour != detour || t.beside.cuts != cuts {
		t.beside.detour, t.beside.cuts = detour, cuts
		t.publishBeside()
	}
}
