package forwarder

import (
	"net/netip"

	"weft/routes"
	"weft/tunnel"
)

// frame is packet for a VXLAN datagram: what is inside must be an IP packet for our MAC, or a neighbour
// question. The outer address family says which of flannel's two devices it would have come to, and so
// which MAC is ours.
func (in *ingress) frame(table *routes.Table, from netip.Addr, data []byte, hint int) {
	v, inner, ok := tunnel.ParseVXLAN(data)
	switch {
	case !ok:
		in.refuse(table, from, Malformed)
	case v.VNI != in.vni:
		in.refuse(table, from, BadVNI)
	case v.Dst != in.mac && !v.Dst.Group():
		in.refuse(table, from, BadMAC)
	case v.Dst == in.mac && (v.EtherType == tunnel.EtherTypeIPv4 || v.EtherType == tunnel.EtherTypeIPv6):
		in.framed(table, from, &v, inner.Data, hint)
	default:
		in.question(table, from, &v, inner.Data)
	}
}

const protocolICMP6 = 58 // IANA protocol number

// framed is for an IP packet addressed to our MAC.
func (in *ingress) framed(table *routes.Table, from netip.Addr, v *tunnel.VXLAN, data []byte, hint int) {
	var p tunnel.Inner
	if !p.Parse(data) || p.V6 != (v.EtherType == tunnel.EtherTypeIPv6) {
		in.refuse(table, from, Malformed)
		return
	}
	if len(data) != p.Len {
		data = data[:p.Len] // padding, as on any Ethernet
		hint = 0
	}
	if p.V6 && p.Protocol == protocolICMP6 && in.answer(table, from, v, data) {
		return // a kernel verifies a neighbour entry by asking its MAC alone
	}
	hop, reason, ok := admit(table, from, &p)
	switch {
	case !ok:
		in.refuse(table, from, reason)
	case v.RemoteSum && !hop.RemoteSums:
		// Nothing says that this peer sends outer checksums, so the packet may have been damaged on its
		// way: nobody could tell.
		in.refuse(table, from, Malformed)
	default:
		if socket := fromSocket(in.echoes.from.Port(), hop); hop.FromSocket.Load() != socket {
			hop.FromSocket.Store(socket)
		}
		in.accept(table, from, data, hint)
	}
}

// lanePorts is where express lanes send from, up to 65535 (LANE_PORTS in kernelmode/express/bpf/bulk.h). A kernel's tunnels
// send from net.ipv4.ip_local_port_range, which ends at 60999.
const lanePorts = 0xf000

// fromSocket reports whether a datagram from the port was sent by a forwarder, or by a lane in front of one.
func fromSocket(port uint16, hop *routes.Hop) bool {
	return port == hop.Outer.Port() || port >= lanePorts
}

// question is for every other frame: of the many kinds that an Ethernet carries, those who ask for our MAC
// get an answer.
func (in *ingress) question(table *routes.Table, from netip.Addr, v *tunnel.VXLAN, data []byte) {
	ip6 := v.EtherType == tunnel.EtherTypeIPv6
	var p tunnel.Inner
	if ip6 {
		if !p.Parse(data) || !p.V6 {
			in.refuse(table, from, Malformed)
			return
		}
		data = data[:p.Len]
	}
	switch {
	case (ip6 || v.EtherType == tunnel.EtherTypeARP) && in.answer(table, from, v, data):
	case ip6 && tunnel.IsRouterSolicitation(data):
		in.refuse(table, from, RouterSolicit)
	case v.Dst.Group():
		in.refuse(table, from, Broadcast)
	default:
		in.refuse(table, from, UnknownProtocol)
	}
}
