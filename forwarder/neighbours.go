package forwarder

import (
	"net/netip"
	"slices"

	"weft/routes"
	"weft/tunnel"

	"golang.org/x/time/rate"
)

// neighbours answers peers that ask for this host's MAC. It belongs to one ingress goroutine.
type neighbours struct {
	limit *rate.Limiter
	buf   []byte
	out   [1]tunnel.Datagram
}

func newNeighbours() neighbours {
	return neighbours{limit: rate.NewLimiter(answersPerSecond, answersBurst)}
}

// answer answers a frame if it asks for our VTEP's address, and tells whether the frame is dealt with: a
// question that gets no answer counts under the reason for that.
//
// The VTEP's address is the first of the own subnet, as flannel's device has it. The answer goes to where
// the peer receives: the address that the question came from, at the network's port, which is this
// conn's own. (The question's source port only tells flows apart.)
func (in *ingress) answer(table *routes.Table, from netip.Addr, v *tunnel.VXLAN, data []byte) (done bool) {
	var q tunnel.NeighbourQuestion
	var ok bool
	if v.EtherType == tunnel.EtherTypeARP {
		q, ok = tunnel.ParseARP(data)
	} else {
		q, ok = tunnel.ParseSolicitation(data, v.Src)
	}
	if !ok {
		return false
	}
	switch {
	case !belongs(table, from, q.Asker):
		in.refuse(table, from, SpoofedSource)
	case !ownBase(table, q.Target):
		in.refuse(table, from, NotLocal)
	case !in.neighbours.limit.Allow():
		in.tally.drop(RateLimited)
	default:
		in.send(from, v.EtherType, q)
	}
	return true
}

// belongs reports whether an asker may be the peer at an outer address. A link-local address is nobody's
// by lease; all that it gets is a MAC that the lease tells anyway.
func belongs(table *routes.Table, from, asker netip.Addr) bool {
	if asker.IsLinkLocalUnicast() {
		return table.KnownOuter(from)
	}
	hop := table.Lookup(asker)
	return hop != nil && hop.Outer.Addr() == from
}

// ownBase reports whether an address is the first of an own subnet.
func ownBase(table *routes.Table, target netip.Addr) bool {
	return slices.ContainsFunc(table.Layout().Local, func(s netip.Prefix) bool { return s.Addr() == target })
}

// send sends the answer in a frame of its own.
func (in *ingress) send(from netip.Addr, etherType uint16, q tunnel.NeighbourQuestion) {
	n := &in.neighbours
	v := tunnel.VXLAN{VNI: in.vni, Dst: q.AskerMAC, Src: in.mac, EtherType: etherType}
	n.buf = slices.Grow(n.buf[:0], tunnel.VXLANHeaderLen)[:tunnel.VXLANHeaderLen]
	v.Put(n.buf, nil)
	if etherType == tunnel.EtherTypeARP {
		n.buf = tunnel.AppendARPReply(n.buf, q, in.mac)
	} else {
		n.buf = tunnel.AppendAdvertisement(n.buf, q, in.mac)
	}
	n.out[0] = tunnel.Datagram{Addr: netip.AddrPortFrom(from, in.conn.LocalAddr().Port()), Payload: n.buf}
	// A conn that is gone shows itself to the next read; one lost answer is asked for again.
	if sent, err := in.conn.WriteBatch(n.out[:]); sent == 1 && err == nil {
		in.tally.shared.neighbours.Add(1)
	}
}
