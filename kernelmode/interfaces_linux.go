package kernelmode

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interfaces implements Kernel.
func (k *Netlink) Interfaces() ([]Interface, error) {
	var all []Interface
	var err error
	for range maxReads {
		if all, err = k.interfaces(); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	return all, nil
}

func (k *Netlink) interfaces() ([]Interface, error) {
	links, err := k.handle.LinkList()
	if err != nil {
		return nil, err
	}
	addresses, err := k.handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	all := make([]Interface, len(links))
	position := map[int]int{}
	for n, l := range links {
		attrs := l.Attrs()
		position[attrs.Index] = n
		all[n] = Interface{Name: attrs.Name, Index: attrs.Index, MTU: attrs.MTU, Up: attrs.Flags&net.FlagUp != 0}
	}
	for _, a := range addresses {
		if n, ok := position[a.LinkIndex]; ok {
			all[n].Addresses = append(all[n].Addresses, interfaceAddress(a))
		}
	}
	if err := k.noteRoutes(all, position); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Interface) int { return a.Index - b.Index })
	return all, nil
}

func interfaceAddress(a netlink.Addr) InterfaceAddress {
	return InterfaceAddress{
		Prefix:     prefixOf(a.IPNet),
		LinkScope:  a.Scope == unix.RT_SCOPE_LINK,
		HostScope:  a.Scope == unix.RT_SCOPE_HOST,
		Temporary:  a.Flags&unix.IFA_F_TEMPORARY != 0,
		Deprecated: a.Flags&unix.IFA_F_DEPRECATED != 0,
		Tentative:  a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0,
	}
}

// noteRoutes notes the best default route of each device and family, and what is reached without a
// gateway. A route with several next hops counts for the device of each.
func (k *Netlink) noteRoutes(all []Interface, position map[int]int) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := k.handle.RouteListFiltered(family, &netlink.Route{}, 0)
		if err != nil {
			return err
		}
		for _, r := range routes {
			dst := prefixOf(r.Dst)
			if r.Type != unix.RTN_UNICAST || uint8(r.Protocol) == RouteProtocol {
				continue
			}
			if n, ok := position[r.LinkIndex]; ok && dst.Bits() > 0 && r.Gw == nil && r.Via == nil && len(r.MultiPath) == 0 {
				all[n].OnLink = append(all[n].OnLink, dst)
			}
			if dst.Bits() == 0 {
				noteDefault(r, family, all, position)
			}
		}
	}
	return nil
}

func noteDefault(r netlink.Route, family int, all []Interface, position map[int]int) {
	indexes := []int{r.LinkIndex}
	for _, hop := range r.MultiPath {
		indexes = append(indexes, hop.LinkIndex)
	}
	for _, index := range indexes {
		n, ok := position[index]
		if !ok {
			continue
		}
		best := &all[n].Default4
		if family == netlink.FAMILY_V6 {
			best = &all[n].Default6
		}
		if !best.Present || uint32(r.Priority) < best.Metric {
			*best = DefaultRoute{Present: true, Metric: uint32(r.Priority)}
		}
	}
}

// Reach implements Kernel.
func (k *Netlink) Reach(ip netip.Addr) (string, error) {
	routes, err := k.handle.RouteGet(ip.AsSlice())
	if err == nil && len(routes) == 0 {
		err = unix.ENETUNREACH
	}
	if err != nil {
		return "", fmt.Errorf("looking up the route to %s: %w", ip, err)
	}
	link, err := k.handle.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return "", fmt.Errorf("looking up the device of the route to %s: %w", ip, err)
	}
	return link.Attrs().Name, nil
}
