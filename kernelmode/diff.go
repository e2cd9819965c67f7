package kernelmode

import "slices"

// Diff returns the operations that turn what there is into what is wanted, in an order that can be
// carried out: what is wanted comes first and what is owned but no longer wanted is deleted last, so
// that no packet finds a gap. Objects on devices that are missing, and not made here, are left out:
// Missing names those devices. Equal States give none.
//
// have must be what Kernel.Read returned for ScopeOf(want).
func Diff(want, have State) []Op {
	missing := Missing(want, have)
	found := index(have)
	var ops []Op
	for _, w := range want.Objects() {
		if slices.Contains(missing, w.Device()) {
			continue
		}
		ops = append(ops, toward(w, found[w.Key()])...)
	}
	wanted := index(want)
	objects := have.Objects()
	for _, h := range slices.Backward(objects) {
		if wanted[h.Key()] == nil && want.owns(h) {
			ops = append(ops, Op{Delete, h})
		}
	}
	return ops
}

// Missing returns the names of wanted devices that are not there and that somebody else has to open.
func Missing(want, have State) []string {
	var names []string
	for _, w := range want.Links {
		there := slices.ContainsFunc(have.Links, func(h Link) bool { return h.Name == w.Name })
		if w.Kind == LinkTUN && !there {
			names = append(names, w.Name)
		}
	}
	return names
}

// index groups objects by key, each group in the given order.
func index(s State) map[any][]Object {
	m := make(map[any][]Object, s.len())
	for _, o := range s.Objects() {
		m[o.Key()] = append(m[o.Key()], o)
	}
	return m
}

// toward returns what makes w effective, given all that has its key.
func toward(w Object, found []Object) []Op {
	if len(found) == 0 {
		return []Op{{Add, w}}
	}
	var ops []Op
	// Somebody may have put a route in front of ours (`ip route prepend`). Replacing the first would
	// then fail with EEXIST, since its twin is still there: the idle twin goes first. Labelled ones
	// behind the effective one are leftovers in any case.
	for _, spare := range found[1:] {
		if r, ok := spare.(Route); ok && r.Protocol == RouteProtocol {
			ops = append(ops, Op{Delete, spare})
		}
	}
	if !satisfies(found[0], w) {
		ops = append(ops, Op{Change, w})
	}
	return ops
}

// satisfies reports whether the object found does what the wanted one asks for.
func satisfies(have, want Object) bool {
	switch w := want.(type) {
	case Link:
		h, ok := have.(Link)
		return ok && h.meets(w)
	case Route:
		h, ok := have.(Route)
		h.Protocol = w.Protocol // an identical route of another program's is adopted
		return ok && h == w
	}
	return have == want
}

// meets compares field by field, since in a wanted Link some zero values mean "any".
func (l Link) meets(w Link) bool {
	return l.Kind == w.Kind && l.MTU == w.MTU && l.Up == w.Up &&
		(w.TxQueueLen == 0 || l.TxQueueLen == w.TxQueueLen) &&
		(w.GSOMaxSize == 0 || l.GSOMaxSize == w.GSOMaxSize) &&
		(!w.NoAddrGen || l.NoAddrGen)
}

// owns reports whether the wanted State has the authority to delete what was found.
func (s State) owns(h Object) bool {
	switch h := h.(type) {
	case Route:
		return h.Protocol == RouteProtocol && s.Owns.inside(h.Dst)
	case Address:
		return s.device(h.Dev) && s.Owns.inside(h.Prefix)
	case Neighbour, FDBEntry:
		return s.device(h.Device())
	case Link:
		return h.Kind != LinkTUN && slices.Contains(s.Owns.Devices, h.Name)
	}
	return false // a sysctl has nothing to go back to
}

// device reports whether the named device is weft's own.
func (s State) device(name string) bool {
	return slices.Contains(s.Owns.Devices, name) ||
		slices.ContainsFunc(s.Links, func(l Link) bool { return l.Name == name })
}
