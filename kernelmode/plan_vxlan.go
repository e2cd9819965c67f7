package kernelmode

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
)

const (
	// DefaultVXLANPort is what a VXLAN device without a configured port has: Linux's own default, older
	// than IANA's 4789 (drivers/net/vxlan, udp_port).
	DefaultVXLANPort = 8472

	deviceNameLimit = 15 // IFNAMSIZ without the final zero
)

// VXLANDevice is the name of the device for a VNI, as flannel has it.
func VXLANDevice(vni int, ipv6 bool) string {
	if ipv6 {
		return fmt.Sprintf("flannel-v6.%d", vni)
	}
	return fmt.Sprintf("flannel.%d", vni)
}

// VXLANPlan returns the kernel state of the vxlan backend as flannel lays it out: a device for each
// family, with the subnet's base address as a host address, and for each peer
//
//	neighbour         base of its subnet → its VTEP's MAC     for the inner Ethernet header
//	forwarding entry  its VTEP's MAC → its outer address      for the outer header
//	route             its subnet via that base, onlink
//
// With DirectRouting, a peer on the same link has a route via its outer address instead. Peers that
// can't be reached so are named in the problems. The error is for what leaves no datapath at all.
func VXLANPlan(h Host) (State, []Problem, error) {
	sides, err := h.sides()
	if err != nil {
		return State{}, nil, err
	}
	s := h.state(sides)
	leases, problems := h.peers()
	for _, f := range sides {
		device, err := h.vxlanDevice(f)
		if err != nil {
			return State{}, nil, err
		}
		s.Links = append(s.Links, device)
		s.Addresses = append(s.Addresses, Address{Dev: device.Name, Prefix: f.base()})
		// Router advertisements have no business here; flannel tries to keep them out as well.
		s.Sysctls = append(s.Sysctls, Sysctl{Name: "net/ipv6/conf/" + device.Name + "/accept_ra", Value: "0", Optional: true})
		peers, skipped := f.of(leases)
		problems = append(problems, skipped...)
		problems = append(problems, h.addVXLANPeers(&s, f, device.Name, peers)...)
	}
	s, err = h.beside(s)
	return s, problems, err
}

// vxlanDevice is the device of one family.
func (h Host) vxlanDevice(f side) (Link, error) {
	overhead := OverheadVXLAN4
	if f.is6() {
		overhead = OverheadVXLAN6
	}
	mtu, err := h.innerMTU(f, overhead)
	if err != nil {
		return Link{}, err
	}
	o := h.Config.Options
	name := VXLANDevice(o.VNI, f.is6())
	if len(name) > deviceNameLimit {
		return Link{}, fmt.Errorf("planning device %s: the name has %d characters and Linux takes %d: use a VNI with fewer digits", name, len(name), deviceNameLimit)
	}
	if !f.mac.unicast() {
		return Link{}, fmt.Errorf("planning device %s: MAC address %s can't be a host's: advertise one from NewMAC", name, f.mac)
	}
	return Link{
		Name: name, Kind: LinkVXLAN, MTU: mtu, Up: true, MAC: f.mac,
		VXLAN: VXLAN{
			VNI: uint32(o.VNI), Port: h.vxlanPort(), Local: f.local, Parent: h.Underlay.Name,
			Learning: o.Learning, GBP: o.GBP,
		},
	}, nil
}

func (h Host) vxlanPort() uint16 {
	if h.Config.Options.Port != 0 {
		return uint16(h.Config.Options.Port)
	}
	return DefaultVXLANPort
}

// addVXLANPeers plans what leads to the peers of one family, and returns those that nothing leads to.
func (h Host) addVXLANPeers(s *State, f side, device string, peers []peer) (problems []Problem) {
	onLink := h.Underlay.OnLink.Prefixes()
	owners := map[MAC]netip.Prefix{f.mac: f.subnet}
	s.Routes = slices.Grow(s.Routes, len(peers))
	for _, p := range peers {
		if h.Config.Options.DirectRouting && contains(onLink, p.outer) {
			s.Routes = append(s.Routes, f.direct(p, h.Underlay))
			continue
		}
		mac, problem := h.vtep(p, owners)
		switch {
		case problem == nil:
		case problem.Reason == OwnPort && h.Beside != nil:
			continue // the userspace datapath knows the port
		default:
			problems = append(problems, *problem)
			continue
		}
		owners[mac] = p.subnet
		base := p.subnet.Addr()
		s.Neighbours = append(s.Neighbours, Neighbour{Dev: device, IP: base, MAC: mac})
		s.FDB = append(s.FDB, FDBEntry{Dev: device, MAC: mac, Dst: p.outer})
		s.Routes = append(s.Routes, Route{
			Dst: p.subnet, Via: base, Dev: device, Metric: f.metric, Onlink: true, Protocol: RouteProtocol,
		})
	}
	return problems
}

// vtep reads the peer's MAC address, which no other may have.
func (h Host) vtep(p peer, owners map[MAC]netip.Prefix) (MAC, *Problem) {
	fail := func(reason, format string, args ...any) (MAC, *Problem) {
		problem := p.problem(reason, format, args...)
		return MAC{}, &problem
	}
	var data struct {
		VNI     *uint32
		VtepMAC string
	}
	if len(p.data) == 0 {
		return fail(BadBackendData, "its lease has no BackendData with a VtepMAC: its agent has to write the lease again")
	}
	if err := json.Unmarshal(p.data, &data); err != nil {
		return fail(BadBackendData, "its BackendData can't be read: %v", err)
	}
	if vni := data.VNI; vni != nil && int(*vni) != h.Config.Options.VNI {
		return fail(OtherVNI, "its VNI is %d and this network's is %d: its agent hasn't taken up the network config", *vni, h.Config.Options.VNI)
	}
	if w, ok := p.lease.Attrs.Weft(); ok && w.Port != 0 && w.Port != int(h.vxlanPort()) {
		return fail(OwnPort, "it listens at port %d, and a kernel VXLAN device sends to port %d alone: reach it from userspace, or start it without --port", w.Port, h.vxlanPort())
	}
	mac, err := ParseMAC(data.VtepMAC)
	if err != nil {
		return fail(BadMAC, "its VtepMAC can't be used: %v", err)
	}
	if owner, taken := owners[mac]; taken {
		return fail(DuplicateMAC, "its VtepMAC %s is that of %s too: machines cloned with the address? make one of them advertise another", mac, owner)
	}
	return mac, nil
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}
