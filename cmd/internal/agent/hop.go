package agent

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"weft/kernelmode"
	"weft/lease"
	"weft/routes"
)

// Where a peer receives whose lease doesn't say, and whose backend type isn't the network's own:
// flannel's defaults.
const (
	defaultUDPPort   = 8285
	defaultVXLANPort = kernelmode.DefaultVXLANPort
)

// routes lists the hops to every peer of the snapshot, one route for each of its subnets, and the peers
// that nothing leads to, with the reasons.
//
// Each peer is talked to in the format that its own lease names, whatever the network's type is: so hosts
// of two types share a network while it migrates from one to the other.
func (f fabric) routes(s *lease.Snapshot, o Options) (all []routes.Route, skipped []kernelmode.Problem) {
	all = make([]routes.Route, 0, len(s.Leases))
	for _, l := range s.Leases {
		if l.Subnets() == f.own.Subnets() {
			continue
		}
		to := towards{fabric: f, options: o, lease: l}
		to.weft, _ = l.Attrs.Weft()
		for _, subnet := range []netip.Prefix{l.Subnet, l.Subnet6} {
			if !subnet.IsValid() {
				continue
			}
			hop, problem := to.hop(subnet)
			if problem != nil {
				skipped = append(skipped, *problem)
				continue
			}
			all = append(all, routes.Route{Subnet: subnet, Hop: hop})
		}
	}
	return all, skipped
}

// towards is one peer's lease as a hop is made of it.
type towards struct {
	fabric
	options Options
	lease   lease.Lease
	weft    lease.Weft // zero for a flannel host
	udp     *routes.Hop
}

// hop is where packets for one subnet of the peer go.
func (t *towards) hop(subnet netip.Prefix) (*routes.Hop, *kernelmode.Problem) {
	switch kind := t.lease.Attrs.BackendType; kind {
	case "", typeUDP:
		return t.udpHop(subnet)
	case typeVXLAN:
		return t.vxlanHop(subnet)
	case typeIPIP:
		return t.ipipHop(subnet)
	default:
		return t.problem(subnet, kernelmode.OtherBackend, "its backend type is %s, which user space doesn't carry, and this network's is %s: "+
			"restart its agent, so that it takes up the network config", kind, t.config.BackendType)
	}
}

func (t *towards) problem(subnet netip.Prefix, reason, format string, args ...any) (*routes.Hop, *kernelmode.Problem) {
	return nil, &kernelmode.Problem{Subnet: subnet, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// noFamily says that the two hosts can't reach each other over any family that the format could use.
func (t *towards) noFamily(subnet netip.Prefix, format string) (*routes.Hop, *kernelmode.Problem) {
	return t.problem(subnet, kernelmode.NoOuterAddress,
		"this host and the peer share no address family that %s could carry it over: give both an address of one", format)
}

// udpHop is over IPv4 if both ends have it, else IPv6. Both subnets share one hop, and so what is
// learned about its path.
func (t *towards) udpHop(subnet netip.Prefix) (*routes.Hop, *kernelmode.Problem) {
	if t.udp != nil {
		return t.udp, nil
	}
	hop := &routes.Hop{Encapsulation: routes.EncapUDP, Echoes: t.weft.Caps&capEchoes != 0}
	if t.weft.Caps&capRemoteSums != 0 && t.caps(t.options)&capRemoteSums != 0 {
		hop.Encapsulation = routes.EncapGUE
	}
	v4, v6 := t.outer()
	peer := t.lease.Attrs
	port := t.portOf(typeUDP, defaultUDPPort)
	switch {
	case peer.PublicIP.IsValid() && v4.IsValid():
		hop.Outer = netip.AddrPortFrom(peer.PublicIP, port)
	case peer.PublicIPv6.IsValid() && v6.IsValid():
		hop.Outer = netip.AddrPortFrom(peer.PublicIPv6, port)
		hop.ZeroSums = t.weft.Caps&capZeroSums != 0
	default:
		return t.noFamily(subnet, "udp")
	}
	t.udp = t.limited(hop, typeUDP)
	return t.udp, nil
}

// vxlanHop is over the subnet's own family, as flannel has a device for each.
func (t *towards) vxlanHop(subnet netip.Prefix) (*routes.Hop, *kernelmode.Problem) {
	v4, v6 := t.outer()
	own, outer, data := v4, t.lease.Attrs.PublicIP, t.lease.Attrs.BackendData
	if subnet.Addr().Is6() {
		own, outer, data = v6, t.lease.Attrs.PublicIPv6, t.lease.Attrs.BackendV6Data
	}
	if !own.IsValid() || !outer.IsValid() {
		return t.noFamily(subnet, "vxlan")
	}
	var tells struct {
		VNI     *uint32
		VtepMAC string
	}
	if err := json.Unmarshal(data, &tells); err != nil {
		return t.problem(subnet, kernelmode.BadBackendData, "its BackendData with the VtepMAC is missing or can't be read (%v): its agent has to write the lease again", err)
	}
	mac, err := kernelmode.ParseMAC(tells.VtepMAC)
	if err != nil {
		return t.problem(subnet, kernelmode.BadMAC, "its VtepMAC can't be used: %v", err)
	}
	vni := uint32(1) // flannel's default
	if tells.VNI != nil {
		vni = *tells.VNI
	}
	if t.config.BackendType == typeVXLAN && int(vni) != t.config.Options.VNI {
		return t.problem(subnet, kernelmode.OtherVNI, "its VNI is %d and this network's is %d: its agent hasn't taken up the network config", vni, t.config.Options.VNI)
	}
	return t.limited(&routes.Hop{
		Encapsulation: routes.EncapVXLAN, VNI: vni, VTEPMAC: mac,
		Outer:      netip.AddrPortFrom(outer, t.portOf(typeVXLAN, defaultVXLANPort)),
		RemoteSums: t.weft.Caps&capVXLANSums != 0 && t.caps(t.options)&capVXLANSums != 0,
		Echoes:     t.weft.Caps&capEchoes != 0,
	}, typeVXLAN), nil
}

// ipipHop is IPv4 inside and outside.
func (t *towards) ipipHop(subnet netip.Prefix) (*routes.Hop, *kernelmode.Problem) {
	v4, _ := t.outer()
	switch {
	case subnet.Addr().Is6():
		return t.problem(subnet, kernelmode.NoIPv6, "ipip carries IPv4 alone: use vxlan")
	case !v4.IsValid() || !t.lease.Attrs.PublicIP.IsValid():
		return t.noFamily(subnet, "ipip")
	}
	return t.limited(&routes.Hop{Encapsulation: routes.EncapIPIP, Outer: netip.AddrPortFrom(t.lease.Attrs.PublicIP, 0)}, typeIPIP), nil
}

// portOf is the port that the peer tells, or that hosts of its type have here.
func (t *towards) portOf(kind string, otherwise int) uint16 {
	switch {
	case t.weft.Port != 0:
		return uint16(t.weft.Port)
	case t.config.BackendType == kind:
		return uint16(t.config.Options.Port)
	case t.config.Beside.BackendType == kind:
		return uint16(t.config.Beside.Options.Port)
	default:
		return uint16(otherwise)
	}
}

// limited sets the MTU of a hop with longer headers than the device's MTU has room for.
func (t *towards) limited(hop *routes.Hop, kind string) *routes.Hop {
	if mtu := t.limit(kind, hop.Outer.Addr()); mtu != 0 {
		hop.SetMTU(mtu)
	}
	return hop
}

// limit is the MTU of a hop whose headers are longer than the device's MTU has room for; 0 where the device's holds.
func (f fabric) limit(kind string, outer netip.Addr) int {
	if mtu := f.underlayMTU() - overhead(kind, outer.Is4()); mtu < f.mtu() {
		return mtu
	}
	return 0
}

// direct lists the kernel routes to peers on the same link, which DirectRouting sends to without any
// encapsulation, whoever moves the other packets: a kernel peer does so, and strict reverse path filters
// want both directions alike.
func (f fabric) direct(s *lease.Snapshot) (all []kernelmode.Object) {
	if !s.Config.Options.DirectRouting {
		return nil
	}
	onLink := f.underlay.OnLink.Prefixes()
	for _, l := range s.Leases {
		if l.Subnets() == f.own.Subnets() || l.Attrs.BackendType != s.Config.BackendType {
			continue
		}
		if l.Subnet.IsValid() && within(onLink, l.Attrs.PublicIP) {
			all = append(all, kernelmode.Route{Dst: l.Subnet, Via: l.Attrs.PublicIP, Dev: f.underlay.Name, Protocol: kernelmode.RouteProtocol})
		}
		if l.Subnet6.IsValid() && within(onLink, l.Attrs.PublicIPv6) && s.Config.BackendType != typeIPIP {
			all = append(all, kernelmode.Route{Dst: l.Subnet6, Via: l.Attrs.PublicIPv6, Dev: f.underlay.Name,
				Metric: kernelmode.DefaultMetric6, Protocol: kernelmode.RouteProtocol})
		}
	}
	return all
}

func within(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}
