package kernelmode

import "slices"

// Diff returns the operations that turn what there is into what is wanted, in an order that can be
// carried out: what is wanted comes first and what is owned but no longer wanted is deleted last, so
// that no packet finds a gap. Only a device whose nature has to change is deleted first, and then made
// again with all that is on it. Objects on devices that are missing, and not made here, are left out:
// Missing names those devices; so are objects on a device of another kind, which is somebody else's.
// Equal States give none.
//
// have must be what Kernel.Read returned for ScopeOf(want).
func Diff(want, have State) []Op {
	skip := Missing(want, have)
	remake := map[string]Link{}
	for _, h := range have.Links {
		for _, w := range want.Links {
			switch {
			case h.Name != w.Name:
			case h.Kind != w.Kind:
				skip = append(skip, h.Name)
			case h.outgrown(w):
				remake[h.Name] = h
			}
		}
	}
	objects := slices.DeleteFunc(have.Objects(), func(h Object) bool { _, dying := remake[h.Device()]; return dying })
	found := index(objects)
	var ops []Op
	for _, w := range want.Objects() {
		link, isLink := w.(Link)
		if slices.Contains(skip, w.Device()) && !(isLink && found[w.Key()] != nil) {
			continue
		}
		if old, dying := remake[link.Name]; isLink && dying {
			ops = append(ops, Op{Delete, old})
		}
		ops = append(ops, want.toward(w, found[w.Key()])...)
	}
	wanted := index(want.Objects())
	for _, h := range slices.Backward(objects) {
		if wanted[h.Key()] == nil && want.owns(h) && !slices.Contains(skip, h.Device()) {
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
func index(objects []Object) map[any][]Object {
	m := make(map[any][]Object, len(objects))
	for _, o := range objects {
		m[o.Key()] = append(m[o.Key()], o)
	}
	return m
}

// toward returns what makes w effective, given all that has its key.
func (s State) toward(w Object, found []Object) []Op {
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
	if !s.satisfied(found[0], w) {
		ops = append(ops, Op{Change, w})
	}
	return ops
}

// satisfied reports whether the object found does what the wanted one asks for.
func (s State) satisfied(have, want Object) bool {
	switch w := want.(type) {
	case Link:
		h, ok := have.(Link)
		return ok && h.meets(w)
	case Sysctl:
		h, ok := have.(Sysctl)
		return ok && h.Value == w.Value
	case Route:
		h, ok := have.(Route)
		// An identical route of another program's is adopted as it is. What carries the label of no
		// program is made ours: flannel left it, and it has to go when its peer does.
		if h.Protocol != ProtocolBoot || !s.Owns.inside(h.Dst) {
			h.Protocol = w.Protocol
		}
		return ok && h == w
	}
	return have == want
}

// owns reports whether the wanted State has the authority to delete what was found.
func (s State) owns(h Object) bool {
	switch h := h.(type) {
	case Route:
		return s.Owns.inside(h.Dst) && (h.Protocol == RouteProtocol || h.Protocol != ProtocolKernel && s.makes(h.Dev))
	case Address:
		return s.device(h.Dev) && s.Owns.inside(h.Prefix)
	case Neighbour, FDBEntry:
		return s.device(h.Device())
	case Link:
		return h.Kind.made() && slices.Contains(s.Owns.Devices, h.Name)
	}
	return false // a sysctl has nothing to go back to
}

// device reports whether the named device is weft's own.
func (s State) device(name string) bool {
	return slices.Contains(s.Owns.Devices, name) ||
		slices.ContainsFunc(s.Links, func(l Link) bool { return l.Name == name })
}

// makes reports whether the named device is wanted, and one that is made here: then flannel's routes on
// it are weft's along with the device.
func (s State) makes(name string) bool {
	return slices.ContainsFunc(s.Links, func(l Link) bool { return l.Name == name && l.Kind.made() })
}
