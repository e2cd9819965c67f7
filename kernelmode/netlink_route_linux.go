package kernelmode

import (
	"maps"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func (k *Netlink) readRoutes(scope Scope, s *State, devices map[int]string) error {
	wanted, names := interestOf(scope), maps.Clone(devices)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := k.handle.RouteListFiltered(family, &netlink.Route{}, 0)
		if err != nil {
			return err
		}
		for _, r := range routes {
			dst := prefixOf(r.Dst)
			if r.Tos != 0 || !wanted.route(uint8(r.Protocol), dst, names[r.LinkIndex]) {
				continue
			}
			route, err := k.route(r, dst, names)
			if err != nil {
				return err
			}
			s.Routes = append(s.Routes, route)
		}
	}
	return nil
}

// route converts what the library read. A route with several next hops keeps no device, and so never
// equals a wanted one.
func (k *Netlink) route(r netlink.Route, dst netip.Prefix, names map[int]string) (Route, error) {
	out := Route{
		Dst: dst, Via: addrOf(r.Gw), Src: addrOf(r.Src), Metric: uint32(r.Priority), MTU: uint32(r.MTU),
		Scope: RouteScope(r.Scope), Onlink: r.Flags&int(netlink.FLAG_ONLINK) != 0, Protocol: uint8(r.Protocol),
	}
	if r.Type != unix.RTN_UNICAST {
		out.Kind = RouteKind(r.Type)
		return out, nil // IPv6 has these on the loopback device, IPv4 on none
	}
	if r.LinkIndex == 0 {
		return out, nil
	}
	name, err := k.name(r.LinkIndex, names)
	names[r.LinkIndex], out.Dev = name, name
	return out, err
}

func (k *Netlink) doRoute(verb Verb, r Route, index int) error {
	route := &netlink.Route{
		Dst: ipNet(r.Dst), Scope: netlink.Scope(r.Scope), Priority: int(r.Metric), MTU: int(r.MTU),
		Protocol: netlink.RouteProtocol(r.Protocol), Table: unix.RT_TABLE_MAIN, Type: int(r.Kind), LinkIndex: index,
	}
	if r.Via.IsValid() {
		route.Gw = r.Via.AsSlice()
	}
	if r.Src.IsValid() {
		route.Src = r.Src.AsSlice()
	}
	if r.Onlink {
		route.Flags = int(netlink.FLAG_ONLINK)
	}
	switch verb {
	case Delete:
		return k.handle.RouteDel(route)
	case Add: // never silently in the place of what came meanwhile
		return k.handle.RouteAdd(route)
	}
	return k.handle.RouteReplace(route)
}
