package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
)

// ParseConfig reads a network config by flannel's rules and fills in its defaults. Keys are
// matched in any case, and unknown ones are ignored. The error joins everything that is wrong, one
// line each with its remedy; the Config beside an error is not for use.
func ParseConfig(data []byte) (Config, error) {
	fields, err := parseObject(data)
	if err != nil {
		return Config{}, fmt.Errorf("config: not a JSON object: %w: "+
			`write it as {"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}`, err)
	}
	r := &fieldReader{where: "config: ", fields: fields}
	c := Config{
		EnableIPv4:     r.boolean("EnableIPv4", true),
		EnableIPv6:     r.boolean("EnableIPv6", false),
		EnableNFTables: r.boolean("EnableNFTables", false),
		Raw:            append([]byte(nil), data...),
	}
	if c.EnableIPv4 {
		var s span
		c.Network, s = r.network(family4)
		c.SubnetMin, c.SubnetMax, c.SubnetLen = s.first, s.last, s.bits
	}
	if c.EnableIPv6 {
		var s span
		c.IPv6Network, s = r.network(family6)
		c.IPv6SubnetMin, c.IPv6SubnetMax, c.IPv6SubnetLen = s.first, s.last, s.bits
	}
	if !c.EnableIPv4 && !c.EnableIPv6 {
		r.fail("EnableIPv4 and EnableIPv6 are both false: set one of them to true")
	}
	r.backend(&c)
	r.migration(&c)
	return c, errors.Join(r.errs...)
}

// A family holds what differs between the two address families of a config.
type family struct {
	prefix   string // before the names of its keys
	example  string
	bits     int // of an address
	longest  int // longest subnet: it must hold the tunnel's and the bridge's address
	wholeLen int // default subnet length of a network that is large enough
}

var (
	family4 = family{prefix: "", example: "10.5.0.0/16", bits: 32, longest: 30, wholeLen: 24}
	family6 = family{prefix: "IPv6", example: "fd00:5::/48", bits: 128, longest: 126, wholeLen: 64}
)

// network reads the keys of one family: the range, and the span of subnets handed out from it.
func (r *fieldReader) network(f family) (netip.Prefix, span) {
	key := f.prefix + "Network"
	network, ok := r.prefix(key, f)
	if !ok {
		return network, span{}
	}
	if network.Bits() > f.longest-2 {
		r.fail("%s %s is too small: use /%d or a larger range", key, network, f.longest-2)
		return network, span{}
	}
	if a := network.Addr(); a.IsLoopback() || a.IsMulticast() {
		r.fail("%s %s is no range for hosts: use a private one, such as %s", key, network, f.example)
	}
	bits, ok := r.subnetLen(f, network)
	if !ok {
		return network, span{}
	}
	// The first subnet is left out: its first address is the network's own (10.5.0.0 of
	// 10.5.0.0/16), which old stacks take for a broadcast address.
	first, _ := nextSubnet(netip.PrefixFrom(network.Addr(), bits))
	s := span{bits: bits, first: first.Addr(), last: lastSubnet(network, bits)}
	s.first = r.bound(f.prefix+"SubnetMin", network, s, s.first)
	s.last = r.bound(f.prefix+"SubnetMax", network, s, s.last)
	if s.last.Less(s.first) {
		r.fail("%sSubnetMin %s is above %sSubnetMax %s: exchange them, or leave both out",
			f.prefix, s.first, f.prefix, s.last)
	}
	return network, s
}

// subnetLen reads or derives the length of each host's subnet. The network must hold four of
// them: the first isn't used, so that two would serve a single host.
func (r *fieldReader) subnetLen(f family, network netip.Prefix) (int, bool) {
	key := f.prefix + "SubnetLen"
	shortest := network.Bits() + 2
	bits, ok := r.integer(key, 0)
	switch {
	case !ok:
		return 0, false
	case bits == 0 && shortest <= f.wholeLen:
		return f.wholeLen, true
	case bits == 0:
		return shortest, true
	case bits < shortest || bits > f.longest:
		r.fail("%s %d is not inside %s: use %d to %d", key, bits, network, shortest, f.longest)
		return 0, false
	}
	return bits, true
}

// bound reads SubnetMin or SubnetMax; def when it is absent.
func (r *fieldReader) bound(key string, network netip.Prefix, s span, def netip.Addr) netip.Addr {
	addr, ok := r.addr(key)
	if !ok || addr.IsUnspecified() { // flannel reads 0.0.0.0 as absent
		return def
	}
	subnet := netip.PrefixFrom(addr, s.bits).Masked()
	switch {
	case !network.Contains(addr):
		r.fail("%s %s is not inside %s: use %s to %s", key, addr, network,
			network.Addr(), lastSubnet(network, s.bits))
	case subnet.Addr() != addr:
		r.fail("%s %s is not on the border of a /%d subnet: use %s", key, addr, s.bits, subnet.Addr())
	default:
		return addr
	}
	return def
}

// backend reads the Backend object: its type, and that type's options.
func (r *fieldReader) backend(c *Config) {
	raw, ok := r.raw("Backend")
	if !ok {
		// What flannel's code does; its documentation says vxlan.
		c.BackendType, c.Options = "udp", Options{Port: udpPort}
		return
	}
	fields, err := parseObject(raw)
	if err != nil {
		r.fail(`Backend is not a JSON object: %w: write it as "Backend":{"Type":"udp"}`, err)
		return
	}
	b := &fieldReader{where: r.where + "Backend ", fields: fields}
	c.Backend = append(json.RawMessage(nil), raw...)
	c.BackendType, c.Options = b.options()
	r.errs = append(r.errs, b.errs...)
}
