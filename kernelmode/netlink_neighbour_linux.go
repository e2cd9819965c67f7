package kernelmode

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// readNeighbours reads each table once for all devices: the kernel dumps the whole of it in any case.
func (k *Netlink) readNeighbours(s *State, devices map[int]string) error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE} {
		entries, err := k.handle.NeighListExecute(netlink.Ndmsg{Family: uint8(family)})
		if err != nil {
			return fmt.Errorf("neighbours: %w", err)
		}
		for _, n := range entries {
			name, ours := devices[n.LinkIndex]
			ip, ok := netip.AddrFromSlice(n.IP)
			if !ours || n.State&netlink.NUD_PERMANENT == 0 || !ok || len(n.HardwareAddr) != len(MAC{}) {
				continue
			}
			if family == unix.AF_BRIDGE {
				s.FDB = append(s.FDB, FDBEntry{name, MAC(n.HardwareAddr), ip.Unmap()})
			} else {
				s.Neighbours = append(s.Neighbours, Neighbour{name, ip.Unmap(), MAC(n.HardwareAddr)})
			}
		}
	}
	return nil
}

func (k *Netlink) doNeighbour(verb Verb, n Neighbour, index int) error {
	return k.setNeighbour(verb, &netlink.Neigh{
		LinkIndex: index, IP: n.IP.AsSlice(), HardwareAddr: n.MAC[:], State: netlink.NUD_PERMANENT,
	})
}

// doFDB replaces the one destination of a MAC address. NLM_F_REPLACE is refused for the entry of all
// zeroes and of groups, which plans don't have.
func (k *Netlink) doFDB(verb Verb, f FDBEntry, index int) error {
	return k.setNeighbour(verb, &netlink.Neigh{
		LinkIndex: index, IP: f.Dst.AsSlice(), HardwareAddr: f.MAC[:], State: netlink.NUD_PERMANENT,
		Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF,
	})
}

func (k *Netlink) setNeighbour(verb Verb, n *netlink.Neigh) error {
	if verb == Delete {
		return k.handle.NeighDel(n)
	}
	return k.handle.NeighSet(n)
}
