package agent

import (
	"net/netip"

	"weft/kernelmode"
	"weft/lease"
	"weft/routes"
)

// A fabric is what turns leases into routes and kernel state: the network, this host's place on the
// underlay, and its lease. It is a value.
type fabric struct {
	config   lease.Config
	underlay kernelmode.Underlay
	own      lease.Lease
	vtep     vtep // MAC addresses towards VXLAN peers, whatever the network's own type
}

// The backend types that this version carries packets of; alloc carries none, and leases subnets.
const (
	typeUDP    = "udp"
	typeVXLAN  = "vxlan"
	typeHostGW = "host-gw"
	typeIPIP   = "ipip"
	typeAlloc  = "alloc"
)

// outer returns the addresses that peers are told, and send to. Each family of the network has its
// own, as flannel has it; a host without one of a network's family is reached over the other.
func (f fabric) outer() (v4, v6 netip.Addr) {
	u := f.underlay
	has4, has6 := u.PublicIP.IsValid(), u.PublicIPv6.IsValid() && !u.PublicIPv6.IsLinkLocalUnicast()
	if has4 && (f.config.EnableIPv4 || !has6) {
		v4 = u.PublicIP
	}
	if has6 && (f.config.EnableIPv6 || !has4) {
		v6 = u.PublicIPv6
	}
	return v4, v6
}

// local returns the interface's own addresses behind those of outer, for sockets to be bound to: so
// that datagrams come from the address that peers know, whatever else the host has.
func (f fabric) local() []netip.Addr {
	var all []netip.Addr
	v4, v6 := f.outer()
	if v4.IsValid() && f.underlay.IPv4.IsValid() {
		all = append(all, f.underlay.IPv4)
	}
	if v6.IsValid() && f.underlay.IPv6.IsValid() {
		all = append(all, f.underlay.IPv6)
	}
	return all
}

// port is where this host receives: --port, else the network's.
func (f fabric) port(o Options) int {
	if o.Port != 0 {
		return o.Port
	}
	return f.config.Options.Port
}

// mtu is the largest inner packet that any peer can be sent, for the device and subnet.env. Where
// leases carry IPv4 addresses, IPv4 is what peers send to; otherwise the longer header counts. In a
// network of both families this is IPv4's, as flannel has it, and hops of the other have less.
func (f fabric) mtu() int {
	v4, _ := f.outer()
	return f.underlayMTU() - overhead(f.config.BackendType, v4.IsValid())
}

// underlayMTU is the largest outer packet: the interface's, or less by the network config.
func (f fabric) underlayMTU() int {
	if configured := f.config.Options.MTU; configured != 0 {
		return min(f.underlay.MTU, configured)
	}
	return f.underlay.MTU
}

// overhead is what a backend type puts in front of each packet, in bytes.
func overhead(backendType string, over4 bool) int {
	switch {
	case backendType == typeUDP && over4:
		return kernelmode.OverheadUDP4
	case backendType == typeUDP:
		return kernelmode.OverheadUDP6
	case backendType == typeVXLAN && over4:
		return kernelmode.OverheadVXLAN4
	case backendType == typeVXLAN:
		return kernelmode.OverheadVXLAN6
	case backendType == typeIPIP:
		return kernelmode.OverheadIPIP4
	default:
		return 0
	}
}

// vni is the number of the VXLAN network: flannel's default where the network is of another type, and
// only peers' leases know better.
func (f fabric) vni() int {
	switch typeVXLAN {
	case f.config.BackendType:
		return f.config.Options.VNI
	case f.config.Beside.BackendType:
		return f.config.Beside.Options.VNI
	default:
		return 1
	}
}

// devices are those that the kernel's datapath makes for the network, with flannel's names.
func (f fabric) devices() (all []string) {
	switch f.config.BackendType {
	case typeVXLAN:
		if f.config.EnableIPv4 {
			all = append(all, kernelmode.VXLANDevice(f.vni(), false))
		}
		if f.config.EnableIPv6 {
			all = append(all, kernelmode.VXLANDevice(f.vni(), true))
		}
	case typeIPIP:
		all = append(all, kernelmode.IPIPDevice)
	}
	return all
}

// layout is the route table's shape, the same for every datapath.
func (f fabric) layout() routes.Layout {
	l := routes.Layout{Network: f.config.Network, SubnetLen: f.config.SubnetLen}
	for _, subnet := range []netip.Prefix{f.own.Subnet, f.own.Subnet6} {
		if subnet.IsValid() {
			l.Local = append(l.Local, subnet)
		}
	}
	return l
}

// plan is the kernel state around the userspace datapath, without what depends on peers.
func (f fabric) plan(o Options) (kernelmode.State, error) {
	u := kernelmode.Userspace{
		Device:     o.TUNName,
		MTU:        f.mtu(),
		Network:    f.config.Network,
		Subnet:     f.own.Subnet,
		Network6:   f.config.IPv6Network,
		Subnet6:    f.own.Subnet6,
		Forwarding: true,
		Revision:   f.own.Revision,
	}
	if f.config.BackendType == typeIPIP {
		u.Network6, u.Subnet6 = netip.Prefix{}, netip.Prefix{} // ipip carries IPv4 alone
	}
	state, err := kernelmode.UserspacePlan(u)
	if err != nil || !f.config.EnableIPv4 {
		return state, err
	}
	// The forwarder's ICMP errors come out of the device with the device's own address as source,
	// which the kernel takes for a forgery otherwise.
	return state.With(kernelmode.Sysctl{Name: "net/ipv4/conf/" + o.TUNName + "/accept_local", Value: "1"}), nil
}

// env is what subnet.env says.
func (f fabric) env() lease.SubnetEnv {
	return lease.SubnetEnv{
		Network:  f.config.Network,
		Subnet:   f.own.Subnet,
		Network6: f.config.IPv6Network,
		Subnet6:  f.own.Subnet6,
		MTU:      f.mtu(),
	}
}
