package kernelmode

import (
	"net/netip"
	"slices"
	"strings"
)

// A State is kernel state as a value: wanted, found, or installed. It names devices, never indexes,
// so that a device which was deleted and came back means the same. Treat it as immutable once it is
// handed to anyone.
type State struct {
	// Revision is the caller's: of the snapshot that the State was planned from. It is carried
	// through to the installed State and takes no part in a Diff.
	Revision int64

	// Owns bounds what may be deleted for being absent here. Only read in wanted States.
	Owns Ownership

	Links      []Link
	Addresses  []Address
	Routes     []Route
	Neighbours []Neighbour
	FDB        []FDBEntry
	Sysctls    []Sysctl
}

// Ownership says how far a wanted State's authority reaches. Two agents with different networks in
// one network namespace therefore leave each other's routes alone.
type Ownership struct {
	// Networks are the ranges whose labelled routes, and whose addresses and routes on weft's
	// devices, are deleted when they aren't wanted.
	Networks []netip.Prefix

	// Devices are weft's own besides the wanted Links: what another datapath of this host may have
	// left behind. Those of a kind that is made here are deleted. A TUN among them is not (its
	// descriptor's owner does that), but loses weft's addresses and routes.
	Devices []string
}

// inside reports whether p lies in one of the networks.
func (o Ownership) inside(p netip.Prefix) bool {
	return slices.ContainsFunc(o.Networks, func(n netip.Prefix) bool {
		return n.Bits() <= p.Bits() && n.Contains(p.Addr())
	})
}

// Objects returns everything in the State, in the order in which it has to be installed: a device
// before what is on it, addresses and neighbours before the routes that use them.
func (s State) Objects() []Object {
	objects := make([]Object, 0, s.len())
	for _, o := range s.Links {
		objects = append(objects, o)
	}
	for _, o := range s.Sysctls {
		objects = append(objects, o)
	}
	for _, o := range s.Addresses {
		objects = append(objects, o)
	}
	for _, o := range s.Neighbours {
		objects = append(objects, o)
	}
	for _, o := range s.FDB {
		objects = append(objects, o)
	}
	for _, o := range s.Routes {
		objects = append(objects, o)
	}
	return objects
}

func (s State) len() int {
	return len(s.Links) + len(s.Sysctls) + len(s.Addresses) + len(s.Neighbours) + len(s.FDB) + len(s.Routes)
}

// With returns the State with objects added. The receiver's slices are not touched.
func (s State) With(objects ...Object) State {
	s.Links, s.Sysctls = slices.Clone(s.Links), slices.Clone(s.Sysctls)
	s.Addresses, s.Neighbours = slices.Clone(s.Addresses), slices.Clone(s.Neighbours)
	s.FDB, s.Routes = slices.Clone(s.FDB), slices.Clone(s.Routes)
	for _, o := range objects {
		switch o := o.(type) {
		case Link:
			s.Links = append(s.Links, o)
		case Sysctl:
			s.Sysctls = append(s.Sysctls, o)
		case Address:
			s.Addresses = append(s.Addresses, o)
		case Neighbour:
			s.Neighbours = append(s.Neighbours, o)
		case FDBEntry:
			s.FDB = append(s.FDB, o)
		case Route:
			s.Routes = append(s.Routes, o)
		}
	}
	return s
}

// And returns both States as one: of another datapath beside this one. What both have alike is there
// once. The Revision is the receiver's.
func (s State) And(o State) State {
	both := map[Object]bool{}
	for _, have := range s.Objects() {
		both[have] = true
	}
	s.Owns.Networks = append(slices.Clone(s.Owns.Networks), o.Owns.Networks...)
	s.Owns.Devices = append(slices.Clone(s.Owns.Devices), o.Owns.Devices...)
	var more []Object
	for _, other := range o.Objects() {
		if !both[other] {
			more = append(more, other)
		}
	}
	return s.With(more...)
}

// Removal is the State in which nothing is wanted any more: applied, it deletes the named devices
// where they are of a kind that weft makes, and weft's routes and addresses inside the networks.
// Everything else stays.
func Removal(networks []netip.Prefix, devices ...string) State {
	return State{Owns: Ownership{Networks: networks, Devices: devices}}
}

// String renders the State as `ip` and `bridge` would, one section for each kind of object, sorted.
// It is what golden tests compare.
func (s State) String() string {
	var b strings.Builder
	section(&b, "# ip link", s.Links)
	section(&b, "# ip address", s.Addresses)
	section(&b, "# ip route", s.Routes)
	section(&b, "# ip neigh", s.Neighbours)
	section(&b, "# bridge fdb", s.FDB)
	section(&b, "# sysctl", s.Sysctls)
	return b.String()
}

func section[O Object](b *strings.Builder, title string, objects []O) {
	if len(objects) == 0 {
		return
	}
	lines := make([]string, len(objects))
	for i, o := range objects {
		lines[i] = o.String()
	}
	slices.Sort(lines)
	b.WriteString(title + "\n" + strings.Join(lines, "\n") + "\n")
}
