package netlab

import (
	"fmt"
	"net/netip"
	"regexp"
)

// Topology says how the hosts of a lab are joined.
type Topology uint8

const (
	// Bridged puts all hosts on one L2 network, 10.99.0.0/24 and fd99::/64.
	Bridged Topology = iota
	// Routed gives every host a network of its own, 10.99.N.0/24 and fd99:0:0:N::/64, with the
	// underlay namespace as the router between them. Too big packets get ICMP here.
	Routed
	// Direct joins exactly two hosts by one veth pair with nothing in between: the least overhead,
	// for benchmarks. Its link can't be impaired.
	Direct
)

// Limits of what a lab can be asked for.
const (
	MaxHosts = 200   // host numbers are the last (Bridged) or third (Routed) byte of the address
	MinMTU   = 1280  // RFC 8200 section 5: less, and the kernel takes IPv6 off the link
	MaxMTU   = 65521 // ETH_MAX_MTU - ETH_HLEN: what veth, bridge and TAP all accept
)

// Config says what lab to build.
type Config struct {
	Name     string   // what the lab is for, first part of its ID: lower-case letters, 1 to 8
	Hosts    int      // 1 to MaxHosts; Direct takes 2
	Topology Topology // the zero value is Bridged
	MTU      int      // of every underlay device, MinMTU to MaxMTU

	// RealSegmentation makes the underlay carry MTU-sized packets, as a wire does, instead of
	// passing superpackets on whole. See Link.SetSegmentation.
	RealSegmentation bool
}

var (
	labName  = regexp.MustCompile(`^[a-z]{1,8}$`)
	nodeName = regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`)
)

// check says what is wrong with the config, and what would be right.
func (c Config) check() error {
	switch {
	case !labName.MatchString(c.Name):
		return fmt.Errorf("lab name %q: use 1 to 8 lower-case letters", c.Name)
	case c.Hosts < 1 || c.Hosts > MaxHosts:
		return fmt.Errorf("lab with %d hosts: use 1 to %d", c.Hosts, MaxHosts)
	case c.Topology > Direct:
		return fmt.Errorf("lab topology %d: use Bridged, Routed or Direct", c.Topology)
	case c.Topology == Direct && c.Hosts != 2:
		return fmt.Errorf("direct lab with %d hosts: one veth pair joins exactly 2", c.Hosts)
	}
	return checkMTU(c.MTU)
}

// checkMTU is for every place that takes an underlay MTU.
func checkMTU(mtu int) error {
	if mtu < MinMTU || mtu > MaxMTU {
		return fmt.Errorf("underlay MTU %d: use %d to %d", mtu, MinMTU, MaxMTU)
	}
	return nil
}

// plan is the addresses of one host and the gateways it uses; the gateways are invalid where the
// network is flat.
type plan struct {
	addr4, addr6       netip.Prefix
	gateway4, gateway6 netip.Addr
}

// planHost numbers host n, counted from 1.
func (c Config) planHost(n int) plan {
	last := byte(n) // MaxHosts is below 254, where the underlay's own address is
	if c.Topology != Routed {
		return plan{
			addr4: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, 0, last}), 24),
			addr6: netip.PrefixFrom(underlay6(0, last), 64),
		}
	}
	return plan{
		addr4:    netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, last, 2}), 24),
		addr6:    netip.PrefixFrom(underlay6(last, 2), 64),
		gateway4: netip.AddrFrom4([4]byte{10, 99, last, 1}),
		gateway6: underlay6(last, 1),
	}
}

// planUnderlay is the address of the underlay namespace itself, the same in both topologies. Where
// the network is routed it sits on the router's loopback, outside every host's network.
func (c Config) planUnderlay() (addr4, addr6 netip.Prefix) {
	// 254 is no host's number, and in a Routed lab 10.99.0.0/24 is no host's network.
	bits4, bits6 := 24, 64
	if c.Topology == Routed {
		bits4, bits6 = 32, 128
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, 0, 254}), bits4),
		netip.PrefixFrom(underlay6(0, 0xfe), bits6)
}

// underlay6 is fd99:0:0:<net>::<last>.
func underlay6(network, last byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x99, 7: network, 15: last})
}
