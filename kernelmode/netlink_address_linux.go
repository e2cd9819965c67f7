package kernelmode

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// readAddresses reads the addresses of all devices at once.
func (k *Netlink) readAddresses(s *State, devices map[int]string) error {
	addresses, err := k.handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("addresses: %w", err)
	}
	for _, a := range addresses {
		if name, ours := devices[a.LinkIndex]; ours && a.Scope == unix.RT_SCOPE_UNIVERSE {
			s.Addresses = append(s.Addresses, Address{name, prefixOf(a.IPNet)})
		}
	}
	return nil
}

// doAddress skips duplicate detection: the address is this host's by lease, and a device without
// neighbours can't answer.
func (k *Netlink) doAddress(verb Verb, a Address, index int) error {
	address := &netlink.Addr{IPNet: ipNet(a.Prefix), LinkIndex: index}
	if a.Prefix.Addr().Is6() {
		address.Flags = unix.IFA_F_NODAD
	}
	if verb == Delete {
		return k.handle.AddrDel(nil, address)
	}
	return k.handle.AddrReplace(nil, address)
}
