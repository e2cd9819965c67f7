package lease

import (
	"encoding/json"
	"net/netip"
)

// Config is the network config: the address range and the backend type, one JSON document.
// [ParseConfig] makes it, with every default filled in; it is a value and never changes.
type Config struct {
	EnableIPv4     bool
	EnableIPv6     bool
	EnableNFTables bool

	Network              netip.Prefix // IPv4 range
	SubnetMin, SubnetMax netip.Addr   // first and last subnet handed out, both inclusive
	SubnetLen            int          // prefix length of each host's subnet

	IPv6Network                  netip.Prefix
	IPv6SubnetMin, IPv6SubnetMax netip.Addr
	IPv6SubnetLen                int

	BackendType string          // lower case: udp, vxlan, host-gw, ipip, wireguard, alloc
	Backend     json.RawMessage // the whole Backend object as stored; nil when there is none
	Options     Options         // what Backend says, with the type's defaults
	Raw         []byte          // the document as stored

	Migration *Migration // to another backend type; nil: none
	Beside    Format     // that hosts speak besides, while there is a migration; zero: none
}

// Subnets is what one host leases: an IPv4 subnet, an IPv6 subnet, or one of each. The one that
// isn't there is the zero Prefix.
type Subnets struct {
	V4, V6 netip.Prefix
}

// String returns the key's name, as [Key] does.
func (s Subnets) String() string { return Key(s) }

// Fits reports whether s is what this config would hand out today: a subnet of the configured
// length, between the configured first and last one, for each family that is on, and no other.
func (c Config) Fits(s Subnets) bool {
	v4, v6 := !s.V4.IsValid(), !s.V6.IsValid()
	if c.EnableIPv4 {
		v4 = c.span4().fits(s.V4)
	}
	if c.EnableIPv6 {
		v6 = c.span6().fits(s.V6)
	}
	return v4 && v6
}

// Contains reports whether p can be a host's subnet of this network, whatever range and length are
// configured for new ones: inside the network, and at most a quarter of it, since a wider one would
// shut everyone else out.
func (c Config) Contains(p netip.Prefix) bool {
	network := c.Network
	if !p.Addr().Is4() {
		network = c.IPv6Network
	}
	return p.IsValid() && network.Contains(p.Addr()) && p.Bits() >= network.Bits()+2
}

// span4 and span6 are the subnets handed out, one value per family, so that the rules exist once.
func (c Config) span4() span { return span{c.SubnetMin, c.SubnetMax, c.SubnetLen} }
func (c Config) span6() span { return span{c.IPv6SubnetMin, c.IPv6SubnetMax, c.IPv6SubnetLen} }

// A span is a row of equal subnets, from the first to the last, both inclusive.
type span struct {
	first, last netip.Addr
	bits        int
}

func (s span) fits(p netip.Prefix) bool {
	return p.IsValid() && p.Bits() == s.bits && p == p.Masked() &&
		s.first.Compare(p.Addr()) <= 0 && p.Addr().Compare(s.last) <= 0
}

// nextSubnet returns the subnet of the same length that follows p; false past the last address.
func nextSubnet(p netip.Prefix) (netip.Prefix, bool) {
	if p.Bits() == 0 {
		return netip.Prefix{}, false
	}
	raw := p.Addr().AsSlice()
	// One subnet further is one more at bit Bits()-1, with the carry going towards bit 0.
	i := (p.Bits() - 1) / 8
	step := 1 << (7 - (p.Bits()-1)%8)
	for ; i >= 0 && step > 0; i-- {
		sum := int(raw[i]) + step
		raw[i], step = byte(sum), sum>>8
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.PrefixFrom(addr, p.Bits()), step == 0
}

// lastSubnet returns the address of the last subnet of the given length inside network.
func lastSubnet(network netip.Prefix, bits int) netip.Addr {
	raw := network.Masked().Addr().AsSlice()
	for bit := network.Bits(); bit < bits; bit++ {
		raw[bit/8] |= 1 << (7 - bit%8)
	}
	addr, _ := netip.AddrFromSlice(raw)
	return addr
}
