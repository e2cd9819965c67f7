package kernelmode

import (
	"context"
	"net/netip"
	"slices"
)

// A Kernel is one network namespace as the rest of the package sees it. Methods may be called
// concurrently. Errors wrap the syscall.Errno that the kernel gave, so that errors.Is tells them
// apart: EEXIST, ENODEV, ESRCH, ENOENT, EPERM, EROFS, EINTR (an interrupted dump: ask again), …
//
// The netlink implementation comes from Open; kerneltest has one in memory.
type Kernel interface {
	// Read returns what there is within the scope: the named devices with their addresses,
	// permanent neighbours and forwarding entries; routes of the main table that carry weft's label,
	// share a destination with the scope, or lead out of a device that is weft's own; the named
	// sysctls. What isn't there is left out.
	// Routes come in the kernel's order: of several with one key the effective one is first.
	Read(Scope) (State, error)

	// Do carries out one operation. Adding or changing what is already so succeeds.
	Do(Op) error

	// Watch calls yield with an Event of kind EventResync as soon as it listens, and then for every
	// change of a link, address, route or neighbour, until ctx ends or the kernel's queue breaks;
	// it returns the reason, never nil. Whatever happens while yield runs is kept by the kernel as
	// far as its buffer goes, and overflow yields another EventResync.
	Watch(ctx context.Context, yield func(Event)) error

	// Interfaces returns every device, for choosing the underlay. The order is the kernel's (index).
	Interfaces() ([]Interface, error)

	// Reach returns the name of the device that packets for the address leave by.
	Reach(netip.Addr) (device string, err error)
}

// A Scope bounds what Read returns, so that a host with a full routing table isn't compared whole.
type Scope struct {
	Devices      []string
	Own          []string // those of Devices that are made here, and whose routes count whoever made them
	Destinations []netip.Prefix
	Sysctls      []string
}

// ScopeOf returns all that a Diff against the wanted State needs to see.
func ScopeOf(want State) Scope {
	var s Scope
	s.Devices = slices.Clone(want.Owns.Devices)
	for _, o := range want.Objects() {
		if dev := o.Device(); dev != "" {
			s.Devices = append(s.Devices, dev)
		}
	}
	for _, l := range want.Links {
		if l.Kind.made() {
			s.Own = append(s.Own, l.Name)
		}
		if l.VXLAN.Parent != "" { // when it returns, so can the device
			s.Devices = append(s.Devices, l.VXLAN.Parent)
		}
	}
	slices.Sort(s.Devices)
	s.Devices = slices.Compact(s.Devices)
	for _, r := range want.Routes {
		s.Destinations = append(s.Destinations, r.Dst)
	}
	for _, c := range want.Sysctls {
		s.Sysctls = append(s.Sysctls, c.Name)
	}
	return s
}

// EventKind says what changed.
type EventKind uint8

// The kinds of Event.
const (
	EventResync EventKind = iota // anything may have changed
	EventLink
	EventAddress
	EventRoute
	EventNeighbour // neighbours and forwarding entries
)

// An Event says that something changed, in which direction it doesn't: whoever cares reads again.
type Event struct {
	Kind     EventKind
	Device   string       // "" when the kernel named none, one that is gone, or for EventRoute
	Dst      netip.Prefix // of EventRoute
	Protocol uint8        // of EventRoute
}

// An interest is a Scope made ready for asking of every event whether it matters.
type interest struct {
	devices      map[string]bool
	own          map[string]bool
	destinations map[netip.Prefix]bool
}

func interestOf(s Scope) interest {
	i := interest{map[string]bool{}, map[string]bool{}, map[netip.Prefix]bool{}}
	for _, name := range s.Devices {
		i.devices[name] = true
	}
	for _, name := range s.Own {
		i.own[name] = true
	}
	for _, dst := range s.Destinations {
		i.destinations[dst] = true
	}
	return i
}

// concerns reports whether the event may have changed what Read returns for the scope. Events whose
// device can't be told count, and a needless Read is all they cost.
func (i interest) concerns(e Event) bool {
	switch e.Kind {
	case EventResync:
		return true
	case EventRoute:
		return i.route(e.Protocol, e.Dst, e.Device)
	default:
		return e.Device == "" || i.devices[e.Device]
	}
}

// route reports whether a route is part of the scope. device is "" where it can't be told.
func (i interest) route(protocol uint8, dst netip.Prefix, device string) bool {
	return protocol == RouteProtocol || i.destinations[dst] || i.own[device]
}
