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

// wrap decides how a packet goes to a hop; ok is false where this datapath can't speak to it.
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
	}
	return w, false
}

// fit changes w so that a packet larger than the hop's path MTU gets through, if it may be cut;
// ok is false where only its sender can make it smaller.
//
// A TCP superpacket is cut finer, so that a transfer goes on at once when the path shrinks. Its sender is
// told all the same, in answers.
func (w *wrapping) fit(p *tunnel.Packet, mtu int) (ok bool) {
	switch {
	case cuttable(p):
		w.cut.Limit = mtu - w.cut.Reserve
		return true
	case tunnel.Fragmentable(p):
		*w = wrapping{mtu: mtu}
		return true
	}
	return false
}

// cuttable reports whether p is a row of bytes that may be cut into segments of any size.
func cuttable(p *tunnel.Packet) bool {
	return p.GSO.Kind == tunnel.GSOTCP4 || p.GSO.Kind == tunnel.GSOTCP6
}

// remoteSummable reports whether a packet's checksum can be left to the peer: it is partial, and its
// transport header follows the IP header directly, since ParseGUE accepts no other place.
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

// putHeaders writes the encapsulation header of every datagram of a packet.
func (w wrapping) putHeaders(out []tunnel.Datagram, version byte, gso *tunnel.GSO) {
	if w.cut.Reserve == 0 {
		return
	}
	for i := range out {
		tunnel.PutGUE(out[i].Head, version, gso)
	}
}
