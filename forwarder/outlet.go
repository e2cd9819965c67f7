package forwarder

import (
	"context"
	"time"

	"weft/routes"
	"weft/tunnel"
)

// An outlet is a worker's way onto the wire for superpackets that stay whole; it may have none.
type outlet struct {
	*tunnel.Outlet
	head [tunnel.VXLANHeaderLen]byte
}

// takes reports whether a packet should go that way. A peer must be one that reads what a kernel's tunnel sends,
// whole superpackets if the underlay passes them: VXLAN peers do, and weft's, but no flannel udp.
//
// Where the underlay doesn't pass them, runs are as good for a peer in user space, and on a veth better: what
// a kernel has encapsulated itself and segmented, it doesn't merge again for a local socket (docs/packet-walk.md).
func (o *outlet) takes(l *lane, hop *routes.Hop, p *tunnel.Packet, w wrapping) bool {
	if o.Outlet == nil || p.GSO.Kind == tunnel.GSONone || w.mtu != whole {
		return false
	}
	if hop.Runs.Off.Load() {
		return false // what cuts or merges there can't be trusted
	}
	userspace := hop.Encapsulation == routes.EncapGUE || hop.RemoteSums || hop.FromSocket.Load()
	if l.format == formatIPIP || hop.Encapsulation == routes.EncapUDP || userspace && !o.Whole() {
		return false
	}
	return o.Takes(p, hop.Outer.Addr(), tunnel.VXLANHeaderLen)
}

// sendWhole puts a superpacket on the wire and counts it. False means that nothing was sent: it goes the
// ordinary way, whose errors tell the inner sender what there is to tell.
func (e *egress) sendWhole(l *lane, hop *routes.Hop, p *tunnel.Packet, w wrapping) bool {
	head, limit := e.outlet.head[:0], w.cut.Limit
	if hop.Encapsulation == routes.EncapVXLAN {
		head = e.outlet.head[:]
		// Who gets a superpacket whole is told beside the bytes that its checksum is partial.
		v := e.frameTo(hop, p.Data[0]>>4)
		v.Put(head, nil)
	} else {
		limit = hop.MTU() // bare: there is no GUE header to leave room for
	}
	if e.outlet.Send(p, head, l.conn.LocalAddr(), hop.Outer, limit) != nil {
		return false
	}
	if hop.Echoes && !hop.Runs.Seen.Load() {
		e.forwarder.trials.watch(hop) // a peer that loses runs loses these too
	}
	size := int(p.GSO.SegmentSize)
	if limit > 0 {
		size = min(size, limit-int(p.GSO.HeaderLen))
	}
	payload := len(p.Data) - int(p.GSO.HeaderLen)
	segments := (payload + size - 1) / size
	e.tally.passMany(segments, payload+segments*(len(head)+int(p.GSO.HeaderLen)))
	return true
}

// outletCheck is how long superpackets may leave past an IPsec policy that is new.
const outletCheck = 2 * time.Second

// recheckOutlets keeps looking whether outlets may still be used. It runs until ctx ends.
func (f *Forwarder) recheckOutlets(ctx context.Context) error {
	return every(ctx, outletCheck, func(time.Time) {
		for _, w := range f.workers {
			if o := w.egress.outlet.Outlet; o != nil {
				o.Recheck()
			}
		}
	})
}
