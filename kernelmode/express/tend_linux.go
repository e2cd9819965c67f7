package express

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tend has the kernel ask again for neighbours that packets of the lane go to. Only a socket's packets make it do so
// by itself; without this a stale entry would be believed for ever, and a peer that moved to another
// MAC lost. The kernel asks each one at most twice a minute (base_reachable_time).
func (l *Lane) tend() error {
	underlay := l.hooks[1].index
	neighbours, err := netlink.NeighList(underlay, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("express: listing neighbours on %s: %w", l.config.Underlay, err)
	}
	gateways, err := gatewaysOf(underlay)
	if err != nil {
		return fmt.Errorf("express: listing routes of %s: %w", l.config.Underlay, err)
	}
	// One neighbour that can't be asked is no reason to let the others grow stale.
	var all error
	for _, n := range neighbours {
		addr, ok := netip.AddrFromSlice(n.IP)
		addr = addr.Unmap()
		if !ok || n.State&netlink.NUD_STALE == 0 || l.table.outers[addr] == 0 && !gateways[addr] {
			continue
		}
		use := netlink.Neigh{LinkIndex: underlay, Family: n.Family, IP: n.IP, Flags: netlink.NTF_USE}
		if err := netlink.NeighSet(&use); err != nil && !errors.Is(err, unix.ENOENT) {
			all = errors.Join(all, fmt.Errorf("express: asking for neighbour %v: %w", addr, err))
		}
	}
	return all
}

// gatewaysOf lists the next hops of a device's routes: behind a gateway the neighbour isn't the peer, and nothing else
// tells which gateways lead to one.
func gatewaysOf(index int) (map[netip.Addr]bool, error) {
	all := map[netip.Addr]bool{}
	list, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: index}, netlink.RT_FILTER_OIF)
	for _, r := range list {
		if gw, ok := netip.AddrFromSlice(r.Gw); ok {
			all[gw.Unmap()] = true
		}
	}
	return all, err
}
