package kernelmode

import (
	"fmt"
	"net/netip"
)

const (
	// DefaultDevice is the name of the userspace datapath's TUN. It isn't flannel's flannel0, so that
	// weft can start while a flanneld still runs.
	DefaultDevice = "weft0"

	// DefaultTxQueueLen is the transmit queue of the TUN in packets. tun.c gives 500, which a TCP
	// sender of 64-byte packets fills between two wake-ups of the forwarder on a busy host.
	DefaultTxQueueLen = 1000

	// OneSendGSOSize as GSOMaxSize keeps a superpacket and its segments' headers under the 65,507 bytes
	// of one UDP send at an MTU of 1,472: TCP takes 320 off it, which leaves 44 segments, 64,768 bytes.
	// It isn't the default. The kernel cuts a packet larger than the device's limit into single
	// segments (gso_features_check), and containers behind a veth send up to 64 KiB: with only the
	// outgoing device lowered, a forwarded stream came in packets of 1.5 KB instead of 63 KB. Whoever
	// asks for it has to lower the containers' devices as well.
	OneSendGSOSize = 62 << 10
)

// Userspace is what the kernel state around the userspace datapath depends on. Network and Subnet
// come in pairs, one for each family; an invalid pair leaves the family out.
type Userspace struct {
	Device string // of the TUN; empty: DefaultDevice
	MTU    int    // bytes of the largest inner packet: the underlay's less the encapsulation's overhead

	Network, Network6 netip.Prefix // the configured ranges
	Subnet, Subnet6   netip.Prefix // this host's lease

	TxQueueLen int // packets; 0: DefaultTxQueueLen
	GSOMaxSize int // bytes; 0: as the device has it

	// Forwarding asks for the sysctls that let the host route between its containers and the TUN.
	Forwarding bool

	Revision int64 // of the snapshot planned from
}

// UserspacePlan returns the kernel state that the userspace datapath needs, as flannel's udp backend
// lays it out, whatever the encapsulation: the TUN with the subnet's base address as a host address, and one route for the whole
// network into it. Which peer a packet goes to is the forwarder's affair, so the plan doesn't change
// with the peers.
func UserspacePlan(u Userspace) (State, error) {
	u = u.withDefaults()
	if err := u.check(); err != nil {
		return State{}, err
	}
	s := State{Revision: u.Revision}
	s.Links = []Link{{
		Name: u.Device, Kind: LinkTUN, MTU: u.MTU, Up: true,
		TxQueueLen: u.TxQueueLen, GSOMaxSize: u.GSOMaxSize, NoAddrGen: true,
	}}
	if u.Network.IsValid() {
		s.add(u.Device, u.Network, u.Subnet, 0)
	}
	if u.Network6.IsValid() {
		s.add(u.Device, u.Network6, u.Subnet6, DefaultMetric6)
	}
	if u.Forwarding {
		s.Sysctls = ForwardingSysctls(u.Network.IsValid(), u.Network6.IsValid())
	}
	return s, nil
}

// add plans one family. The route has global scope although it has no gateway, as flannel's has: what
// is behind the TUN isn't on a link.
func (s *State) add(dev string, network, subnet netip.Prefix, metric uint32) {
	base := subnet.Masked().Addr()
	s.Owns.Networks = append(s.Owns.Networks, network.Masked())
	s.Addresses = append(s.Addresses, Address{Dev: dev, Prefix: netip.PrefixFrom(base, base.BitLen())})
	s.Routes = append(s.Routes, Route{
		Dst: network.Masked(), Dev: dev, Metric: metric, Scope: ScopeGlobal, Protocol: RouteProtocol,
	})
}

// ForwardingSysctls returns the parameters that make the host a router. They are never set back: other
// programs may rely on them by then.
func ForwardingSysctls(ipv4, ipv6 bool) []Sysctl {
	var s []Sysctl
	if ipv4 {
		s = append(s, Sysctl{Name: "net/ipv4/ip_forward", Value: "1"})
	}
	if ipv6 {
		s = append(s, Sysctl{Name: "net/ipv6/conf/all/forwarding", Value: "1"})
	}
	return s
}

func (u Userspace) withDefaults() Userspace {
	if u.Device == "" {
		u.Device = DefaultDevice
	}
	if u.TxQueueLen == 0 {
		u.TxQueueLen = DefaultTxQueueLen
	}
	return u
}

func (u Userspace) check() error {
	if !u.Network.IsValid() && !u.Network6.IsValid() {
		return fmt.Errorf("planning device %s: no network in either family: set Network or IPv6Network in the network config", u.Device)
	}
	if len(u.Device) > 15 {
		return fmt.Errorf("planning device %s: the name has %d characters: use at most 15", u.Device, len(u.Device))
	}
	least := minMTU4
	if u.Network6.IsValid() {
		least = minMTU6
	}
	if u.MTU < least || u.MTU > maxMTU {
		return fmt.Errorf("planning device %s: MTU %d is not within %d to %d: check the underlay's MTU, of which the encapsulation takes %d to %d bytes",
			u.Device, u.MTU, least, maxMTU, OverheadIPIP4, OverheadVXLAN6)
	}
	for _, pair := range [][2]netip.Prefix{{u.Network, u.Subnet}, {u.Network6, u.Subnet6}} {
		network, subnet := pair[0], pair[1]
		if network.IsValid() != subnet.IsValid() {
			return fmt.Errorf("planning device %s: network %v and subnet %v: each needs the other", u.Device, network, subnet)
		}
		if network.IsValid() && (!network.Contains(subnet.Addr()) || subnet.Bits() < network.Bits()) {
			return fmt.Errorf("planning device %s: subnet %s is not inside network %s: the lease belongs to another network config", u.Device, subnet, network)
		}
	}
	if u.Network.IsValid() && !u.Network.Addr().Is4() || u.Network6.IsValid() && !u.Network6.Addr().Is6() {
		return fmt.Errorf("planning device %s: network %v must be IPv4 and %v IPv6", u.Device, u.Network, u.Network6)
	}
	return nil
}
