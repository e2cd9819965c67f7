package agent

import (
	"fmt"
	"net/netip"
	"regexp"

	"weft/kernelmode"
	"weft/lease"
)

// choose finds the underlay interface. A udp network of one family can be carried over an underlay of
// the other; flannel's other types carry each family over itself.
func (o InterfaceOptions) choose(k kernelmode.Kernel, c lease.Config) (kernelmode.Underlay, error) {
	selection, err := o.selection(c)
	if err != nil {
		return kernelmode.Underlay{}, err
	}
	u, err := kernelmode.SelectInterface(k, selection)
	either := c.BackendType == typeUDP || c.BackendType == typeAlloc
	if err != nil && either && selection.IPv4 != selection.IPv6 {
		selection.IPv4, selection.IPv6 = selection.IPv6, selection.IPv4
		if other, otherErr := kernelmode.SelectInterface(k, selection); otherErr == nil {
			return other, nil
		}
	}
	return u, err
}

// selection turns flags and config into the choice of underlay interface. A family is needed where
// the leases of the network name an address of it, as flannel's peers expect.
func (o InterfaceOptions) selection(c lease.Config) (kernelmode.Selection, error) {
	s := kernelmode.Selection{
		Interfaces: o.Names,
		CanReach:   o.CanReach,
		PublicIP:   o.PublicIP,
		PublicIPv6: o.PublicIPv6,
		IPv4:       c.EnableIPv4,
		IPv6:       c.EnableIPv6,
	}
	for _, network := range []netip.Prefix{c.Network, c.IPv6Network} {
		if network.IsValid() {
			s.Networks = append(s.Networks, network)
		}
	}
	for _, pattern := range o.Patterns {
		expression, err := regexp.Compile(pattern)
		if err != nil {
			return s, fmt.Errorf("--iface-regex %q: %w", pattern, err)
		}
		s.Regexes = append(s.Regexes, expression)
	}
	return s, nil
}
