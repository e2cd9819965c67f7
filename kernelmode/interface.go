package kernelmode

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// An Interface is one device as a candidate for the underlay.
type Interface struct {
	Name      string
	Index     int
	MTU       int // bytes
	Up        bool
	Addresses []InterfaceAddress // in the kernel's order

	// OnLink are the networks that routes reach through this device without a gateway: those of its
	// addresses, and what an operator added.
	OnLink []netip.Prefix

	// Default4 and Default6 tell of the best default route through this device.
	Default4, Default6 DefaultRoute
}

// A DefaultRoute is the default route of one family through one device.
type DefaultRoute struct {
	Present bool
	Metric  uint32 // the lowest wins
}

// An InterfaceAddress is an address with what decides whether peers should be told of it.
type InterfaceAddress struct {
	Prefix netip.Prefix // the address itself, unmasked

	LinkScope  bool // scope link: only hosts on the same link can use it
	HostScope  bool // scope host: loopback
	Temporary  bool // IPv6 privacy address; in IPv4 the same bit means secondary (IFA_F_TEMPORARY)
	Deprecated bool // preferred lifetime is over (IFA_F_DEPRECATED)
	Tentative  bool // duplicate detection hasn't finished, or failed (IFA_F_TENTATIVE, IFA_F_DADFAILED)
}

// usable reports whether peers could be told of the address at all.
func (a InterfaceAddress) usable() bool {
	ip := a.Prefix.Addr()
	return !a.Deprecated && !a.Tentative && !a.HostScope && !ip.IsLoopback() && !ip.IsMulticast() && !ip.IsUnspecified()
}

// rank orders usable addresses, lowest first: global before link-local, permanent before temporary.
func (a InterfaceAddress) rank() int {
	rank := 0
	if a.LinkScope || a.Prefix.Addr().IsLinkLocalUnicast() {
		rank += 2
	}
	if a.Temporary {
		rank++
	}
	return rank
}

// best returns the address of one family to advertise, or the invalid Addr. Of equals the kernel's
// first one is taken.
func (i Interface) best(ipv6 bool) netip.Addr {
	var chosen netip.Addr
	lowest := 0
	for _, a := range i.Addresses {
		if a.Prefix.Addr().Is6() != ipv6 || !a.usable() {
			continue
		}
		if rank := a.rank(); !chosen.IsValid() || rank < lowest {
			chosen, lowest = a.Prefix.Addr(), rank
		}
	}
	return chosen
}

// holds reports whether the address is on the device and may be used.
func (i Interface) holds(ip netip.Addr) bool {
	return slices.ContainsFunc(i.Addresses, func(a InterfaceAddress) bool {
		return a.Prefix.Addr() == ip && a.usable()
	})
}

// String renders the interface as one line for a list that a person chooses from.
func (i Interface) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (mtu %d", i.Name, i.MTU)
	if !i.Up {
		b.WriteString(", down")
	}
	if i.Default4.Present || i.Default6.Present {
		b.WriteString(", default route")
	}
	for _, a := range i.Addresses {
		fmt.Fprintf(&b, ", %s", a.Prefix)
		if a.Deprecated {
			b.WriteString(" deprecated")
		}
		if a.Tentative {
			b.WriteString(" tentative")
		}
	}
	return b.String() + ")"
}
