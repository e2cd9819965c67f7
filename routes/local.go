package routes

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// local holds the own subnets, as numbers, so that the check is a mask and a comparison. A family
// without one has a base that no masked address equals.
type local struct {
	base4, mask4 uint32
	has4         bool
	subnet6      netip.Prefix
}

func newLocal(subnets []netip.Prefix) (own local, err error) {
	for _, s := range subnets {
		switch {
		case !s.IsValid() || s != s.Masked() || s.Addr().Is4In6():
			return local{}, fmt.Errorf("own subnet %v is not a subnet: use its first address and length", s)
		case s.Addr().Is4() && !own.has4:
			b := s.Addr().As4()
			own.base4, own.mask4, own.has4 = binary.BigEndian.Uint32(b[:]), ^uint32(0)<<(32-s.Bits()), true
		case s.Addr().Is6() && !own.subnet6.IsValid():
			own.subnet6 = s
		default:
			return local{}, fmt.Errorf("own subnet %v is the second of its family: a host has one", s)
		}
	}
	return own, nil
}

// Local4 reports whether the IPv4 address, a big-endian number, is in this host's own subnet.
func (t *Table) Local4(addr uint32) bool {
	return t.local.has4 && addr&t.local.mask4 == t.local.base4
}

// Local6 reports whether the IPv6 address is in this host's own subnet.
func (t *Table) Local6(addr [16]byte) bool {
	return t.local.subnet6.IsValid() && t.local.subnet6.Contains(netip.AddrFrom16(addr))
}

// Local reports whether an inner address is in one of this host's own subnets.
func (t *Table) Local(addr netip.Addr) bool {
	switch {
	case addr.Is4():
		b := addr.As4()
		return t.Local4(binary.BigEndian.Uint32(b[:]))
	case addr.Is6():
		return t.Local6(addr.As16())
	}
	return false
}
