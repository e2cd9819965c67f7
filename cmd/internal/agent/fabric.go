package agent

import (
	"net/netip"

	"weft/kernelmode"
	"weft/lease"
	"weft/routes"
	"weft/tunnel"
)

// A fabric is what turns leases into routes and kernel state: the network, this host's place on the
// underlay, and its lease. It is a value.
type fabric struct {
	config   lease.Config
	underlay kernelmode.Underlay
	own      lease.Lease
}

// What this host's lease says beyond flannel, inside BackendData.
const (
	weftVersion = 1

	// capRemoteSums: this host takes GUE variant 0 with remote checksum on its port, and always sends
	// outer checksums. Both ends must say so before either leaves an inner checksum out.
	capRemoteSums = 1 << 0
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

// attrs is what this host tells its peers. It is flannel's record to the byte, unless there is
// something to tell that flannel has no word for.
func (f fabric) attrs(o Options) (lease.Attrs, error) {
	var a lease.Attrs
	a.PublicIP, a.PublicIPv6 = f.outer()
	w := lease.Weft{Version: weftVersion, Port: f.port(o)}
	if o.remoteSums() {
		w.Caps |= capRemoteSums
	}
	if w.Port == f.config.Options.Port && w.Caps == 0 {
		return a, nil
	}
	return a.WithWeft(w)
}

// remoteSums reports whether this host leaves inner checksums to peers, and takes it from them. The
// portable queue has no way to hand the kernel a packet whose checksum isn't there.
func (o Options) remoteSums() bool { return o.RemoteSums != tunnel.Off && o.IO != "portable" }

// port is where this host receives: --port, else the network's.
func (f fabric) port(o Options) int {
	if o.Port != 0 {
		return o.Port
	}
	return f.config.Options.Port
}

// mtu is the largest inner packet that any peer can be sent, for the device and subnet.env. Where
// leases carry IPv4 addresses, IPv4 is what peers send to; otherwise the longer header counts.
func (f fabric) mtu() int {
	underlay := f.underlay.MTU
	if configured := f.config.Options.MTU; configured != 0 {
		underlay = min(underlay, configured)
	}
	v4, _ := f.outer()
	switch {
	case f.config.BackendType == "alloc":
		return underlay
	case v4.IsValid():
		return underlay - kernelmode.OverheadUDP4
	default:
		return underlay - kernelmode.OverheadUDP6
	}
}

// layout is the route table's shape.
func (f fabric) layout() routes.Layout {
	l := routes.Layout{Network: f.config.Network, SubnetLen: f.config.SubnetLen}
	for _, subnet := range []netip.Prefix{f.own.Subnet, f.own.Subnet6} {
		if subnet.IsValid() {
			l.Local = append(l.Local, subnet)
		}
	}
	return l
}

// routes lists the hops to every peer of the snapshot, one route for each of its subnets. Like
// flannel's udp backend it takes leases of any backend type: what answers at the port is the peer's
// affair, and a network that migrates has both.
func (f fabric) routes(s *lease.Snapshot, o Options) []routes.Route {
	all := make([]routes.Route, 0, len(s.Leases))
	for _, l := range s.Leases {
		if l.Subnets() == f.own.Subnets() {
			continue
		}
		hop, ok := f.hop(l.Attrs, o)
		if !ok {
			continue
		}
		for _, subnet := range []netip.Prefix{l.Subnet, l.Subnet6} {
			if subnet.IsValid() {
				all = append(all, routes.Route{Subnet: subnet, Hop: hop})
			}
		}
	}
	return all
}

// hop is where the peer receives: over IPv4 if both ends have it, else IPv6, at the port it tells or
// the network's. false: the two hosts share no outer family.
func (f fabric) hop(peer lease.Attrs, o Options) (*routes.Hop, bool) {
	port := f.config.Options.Port
	if w, ok := peer.Weft(); ok && w.Port != 0 {
		port = w.Port
	}
	hop := &routes.Hop{Encapsulation: routes.EncapUDP}
	if w, ok := peer.Weft(); ok && w.Caps&capRemoteSums != 0 && o.remoteSums() {
		hop.Encapsulation = routes.EncapGUE
	}
	v4, v6 := f.outer()
	switch {
	case peer.PublicIP.IsValid() && v4.IsValid():
		hop.Outer = netip.AddrPortFrom(peer.PublicIP, uint16(port))
	case peer.PublicIPv6.IsValid() && v6.IsValid():
		hop.Outer = netip.AddrPortFrom(peer.PublicIPv6, uint16(port))
		// The device may be set for IPv4's shorter header.
		if mtu := f.underlay.MTU - kernelmode.OverheadUDP6; mtu < f.mtu() {
			hop.SetMTU(mtu)
		}
	default:
		return nil, false
	}
	return hop, true
}

// plan is the kernel state that the session needs.
func (f fabric) plan(o Options) (kernelmode.State, error) {
	state, err := kernelmode.UserspacePlan(kernelmode.Userspace{
		Device:     o.TUNName,
		MTU:        f.mtu(),
		Network:    f.config.Network,
		Subnet:     f.own.Subnet,
		Network6:   f.config.IPv6Network,
		Subnet6:    f.own.Subnet6,
		Forwarding: true,
		Revision:   f.own.Revision,
	})
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
