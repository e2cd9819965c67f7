package forwarder

import (
	"weft/routes"
	"weft/tunnel"
)

// A wrapping says how one packet goes onto the wire.
type wrapping struct {
	cut tunnel.Cut
	mtu int // cut into IPv4 fragments of at most that many bytes; whole: not
}

// whole, in the place of an MTU, means that a packet needs no fragmenting.
const whole = 0

// wrap decides how a packet goes to a hop; ok is false where it can't be carried to it.
//
// GUE only pays for a packet whose checksum is still partial, and only where its header fits into
// what the path takes: a TCP superpacket is cut finer to make room. All others go headerless, which
// the same port of the peer takes too.
func (e *egress) wrap(p *tunnel.Packet, inner *tunnel.Inner, hop *routes.Hop) (w wrapping, ok bool) {
	switch hop.Encapsulation {
	case routes.EncapUDP:
		return w, true
	case routes.EncapGUE:
		room := hop.MTU()
		if room == 0 {
			room = e.wireMTU
		}
		room -= tunnel.GUEHeaderLen
		if remoteSummable(p, inner) && (cuttable(p) || segmentLen(p) <= room) {
			w.cut = tunnel.Cut{Reserve: tunnel.GUEHeaderLen, LeavePartial: true, Limit: room}
		}
		return w, true
	case routes.EncapVXLAN:
		w.cut = tunnel.Cut{Reserve: tunnel.VXLANHeaderLen, LeavePartial: hop.RemoteSums && remoteSummable(p, inner)}
		return w, true
	case routes.EncapIPIP:
		return w, !inner.V6 && hop.Outer.Addr().Is4()
	}
	return w, false
}

// fit changes w so that a packet larger than the hop's path MTU gets through, if it may be cut;
// ok is false where only its sender can make it smaller.
//
// A TCP superpacket is cut finer, so that a transfer goes on at once when the path shrinks. Its sender is
// told all the same, in answers.
func (w *wrapping) fit(p *tunnel.Packet, hop *routes.Hop, mtu int) (ok bool) {
	gue := hop.Encapsulation == routes.EncapGUE // whose header the hop's MTU leaves out
	switch {
	case cuttable(p) && gue:
		w.cut.Limit = mtu - w.cut.Reserve
		return true
	case cuttable(p):
		w.cut.Limit = mtu
		return true
	case tunnel.Fragmentable(p) && gue:
		*w = wrapping{mtu: mtu}
		return true
	case tunnel.Fragmentable(p):
		w.mtu, w.cut.LeavePartial = mtu, false // a sum over all fragments is no fragment's
		return true
	}
	return false
}

// cuttable reports whether p is a row of bytes that may be cut into segments of any size.
func cuttable(p *tunnel.Packet) bool {
	return p.GSO.Kind == tunnel.GSOTCP4 || p.GSO.Kind == tunnel.GSOTCP6
}

// remoteSummable reports whether a packet's checksum can be left to the peer: it is partial, and its
// transport header follows the IP header directly, since neither ParseGUE nor ParseVXLAN accepts
// another place.
func remoteSummable(p *tunnel.Packet, inner *tunnel.Inner) bool {
	header, field := int(p.Data[0]&15)*4, uint16(0)
	if inner.V6 {
		header = 40
	}
	switch inner.Protocol {
	case 6: // TCP
		field = 16
	case 17: // UDP
		field = 6
	default:
		return false
	}
	return p.GSO.PartialChecksum && int(p.GSO.ChecksumStart) == header && p.GSO.ChecksumOffset == field
}

// putHeaders writes the encapsulation header of every datagram of a packet to a hop.
func (e *egress) putHeaders(out []tunnel.Datagram, hop *routes.Hop, w wrapping, version byte, gso *tunnel.GSO) {
	switch {
	case w.cut.Reserve == 0:
	case hop.Encapsulation == routes.EncapVXLAN:
		e.putFrames(out, hop, w, version, gso)
	default:
		for i := range out {
			tunnel.PutGUE(out[i].Head, version, gso)
		}
	}
}

// putFrames writes the VXLAN headers: the same in front of every segment of a packet.
func (e *egress) putFrames(out []tunnel.Datagram, hop *routes.Hop, w wrapping, version byte, gso *tunnel.GSO) {
	if len(out) == 0 {
		return
	}
	v := e.frameTo(hop, version)
	v.RemoteSum = w.cut.LeavePartial
	v.Put(out[0].Head, gso)
	first := out[0].Head[:tunnel.VXLANHeaderLen]
	for i := range out[1:] {
		copy(out[i+1].Head, first)
	}
}

// frameTo returns the VXLAN headers of packets of an IP version to a hop.
func (e *egress) frameTo(hop *routes.Hop, version byte) tunnel.VXLAN {
	v := tunnel.VXLAN{
		VNI: hop.VNI, Dst: hop.VTEPMAC, Src: e.vxlan.mac(hop.Outer.Addr()), EtherType: tunnel.EtherTypeIPv4,
	}
	if version == 6 {
		v.EtherType = tunnel.EtherTypeIPv6
	}
	return v
}
