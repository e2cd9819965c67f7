package kernelmode

import (
	"net/netip"
	"slices"
	"strings"
)

// Networks is a set of prefixes as one comparable value: their text, sorted, with spaces between. An
// Underlay has one, and is compared whole to see whether it changed.
type Networks string

// NetworksOf makes the set; duplicates count once, and what lies in IPv6's link-local range isn't kept,
// since no lease names an address there.
func NetworksOf(prefixes ...netip.Prefix) Networks {
	var all []string
	for _, p := range prefixes {
		if p.IsValid() && !p.Addr().IsLinkLocalUnicast() {
			all = append(all, p.Masked().String())
		}
	}
	slices.Sort(all)
	return Networks(strings.Join(slices.Compact(all), " "))
}

// Prefixes returns the set's members.
func (n Networks) Prefixes() []netip.Prefix {
	var all []netip.Prefix
	for text := range strings.FieldsSeq(string(n)) {
		if p, err := netip.ParsePrefix(text); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// Contains reports whether an address lies in one of the networks.
func (n Networks) Contains(a netip.Addr) bool {
	return slices.ContainsFunc(n.Prefixes(), func(p netip.Prefix) bool { return p.Contains(a) })
}
