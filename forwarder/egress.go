package forwarder

import (
	"context"
	"errors"
	"fmt"

	"weft/routes"
	"weft/tunnel"
)

// egressBatch is how many packets one wake-up takes at most: enough to make the system calls cheap,
// few enough that the first one doesn't wait long.
const egressBatch = 64

// egress carries packets from one queue to the wire.
type egress struct {
	forwarder *Forwarder // for what all workers share off the packets' way
	live      *routes.Live
	device    *sharedQueue
	lanes     lanes
	packets   []tunnel.Packet
	segmenter *tunnel.Segmenter
	answers   answers
	tally     tally
	wireMTU   int // see Config
	vxlan     VXLAN
	outlet    outlet
}

func newEgress(f *Forwarder, c *Config, w Worker, device *sharedQueue) *egress {
	return &egress{
		forwarder: f, live: c.Routes, device: device,
		lanes:     newLanes(&w),
		packets:   make([]tunnel.Packet, egressBatch),
		segmenter: tunnel.NewSegmenter(),
		answers:   newAnswers(c, device),
		tally:     newTally(),
		wireMTU:   max(c.WireMTU, c.MTU),
		vxlan:     c.VXLAN,
		outlet:    outlet{Outlet: w.Outlet},
	}
}

// run forwards batches until the queue ends, and returns why it ended.
func (e *egress) run(context.Context) error {
	for {
		if err := e.batch(); err != nil {
			return err
		}
	}
}

// batch carries what one wake-up of the queue brings.
func (e *egress) batch() error {
	n, err := e.device.ReadBatch(e.packets)
	if err != nil {
		return err
	}
	table := e.live.Load()
	for i := range n {
		if err := e.packet(table, i); err != nil {
			return err
		}
	}
	err = e.flush()
	e.tally.publish()
	return err
}

// packet finds the hop of packets[i] and puts its datagrams on a lane, or drops it.
func (e *egress) packet(table *routes.Table, i int) error {
	p := &e.packets[i]
	var inner tunnel.Inner
	if !inner.Parse(p.Data) || inner.Len != len(p.Data) {
		e.tally.drop(Malformed)
		return nil
	}
	hop, reason := destination(table, &inner)
	if hop == nil {
		e.refuse(reason, p.Data)
		return nil
	}
	w, ok := e.wrap(p, &inner, hop)
	if !ok {
		e.tally.drop(UnknownEncap)
		return nil
	}
	if mtu := hop.MTU(); mtu != 0 && segmentLen(p) > mtu {
		fits := w.fit(p, hop, mtu)
		if !fits {
			e.tally.drop(TooBig)
		}
		if !tunnel.Fragmentable(p) {
			e.tellMTU(p, mtu)
		}
		if !fits {
			return nil
		}
	}
	l := e.lanes.pick(hop, &inner, p.Data)
	if l == nil {
		e.tally.drop(NoConn)
		return nil
	}
	return e.enqueue(l, hop, i, w)
}

// destination returns the hop for a packet, or nil and the reason why there is none.
func destination(table *routes.Table, p *tunnel.Inner) (*routes.Hop, Reason) {
	var hop *routes.Hop
	if p.V6 {
		hop = table.Lookup6(p.Dst6)
	} else {
		hop = table.Lookup4(p.Dst4)
	}
	switch {
	case p.MartianSource() || p.MartianDestination():
		return nil, Martian
	case hop == nil && table.KnownOuter(p.Dst()), table.MayRecurse() && table.Recursive(p.Dst()):
		return nil, Recursion
	case hop == nil:
		return nil, NoRoute
	}
	return hop, 0
}

// refuse drops a packet that has no hop, and tells its sender where that helps.
func (e *egress) refuse(reason Reason, packet []byte) {
	e.tally.drop(reason)
	if reason == NoRoute && e.answers.unreachable(packet) {
		e.tally.shared.icmp.Add(1)
	}
}

// tellMTU tells the sender of a packet, or of a superpacket whose segments are larger than mtu, what
// the path takes.
func (e *egress) tellMTU(p *tunnel.Packet, mtu int) {
	if e.answers.tooBig(p.Data, mtu) {
		e.tally.shared.icmp.Add(1)
	}
}

// segmentLen returns the bytes of the largest packet that p puts on the wire.
func segmentLen(p *tunnel.Packet) int {
	if p.GSO.Kind == tunnel.GSONone {
		return len(p.Data)
	}
	return min(int(p.GSO.HeaderLen)+int(p.GSO.SegmentSize), len(p.Data))
}

// enqueue appends the datagrams of packets[i] to the lane. Where the header arena is full, the batch so
// far goes out first.
func (e *egress) enqueue(l *lane, hop *routes.Hop, i int, w wrapping) error {
	p := &e.packets[i]
	if e.outlet.takes(l, hop, p, w) {
		if err := e.flush(); err != nil { // what waits may be of the same flow
			return err
		}
		if e.sendWhole(l, hop, p, w) {
			return nil
		}
	}
	gso, first := p.GSO, len(l.out)
	out, err := e.cut(l.out, p, w)
	if errors.Is(err, tunnel.ErrArenaFull) {
		if err := e.flush(); err != nil {
			return err
		}
		first = 0
		out, err = e.cut(l.out, p, w)
	}
	if err != nil {
		e.tally.drop(Malformed)
		return nil
	}
	alone := hop.Runs.Off.Load()
	for j := first; j < len(out); j++ {
		out[j].Addr, out[j].Alone = hop.Outer, alone
	}
	if hop.Echoes && !hop.Runs.Seen.Load() && l.endsWith(hop, len(out)-first) {
		e.forwarder.trials.watch(hop)
	}
	e.putHeaders(out[first:], hop, w, p.Data[0]>>4, &gso)
	l.out = out
	l.origins = append(l.origins, origin{end: len(out), packet: i, hop: hop})
	return nil
}

func (e *egress) cut(out []tunnel.Datagram, p *tunnel.Packet, w wrapping) ([]tunnel.Datagram, error) {
	if w.mtu != whole {
		return e.segmenter.Fragment(out, p, w.cut, w.mtu)
	}
	return e.segmenter.Append(out, p, w.cut)
}

// flush sends what waits on every lane and frees the arena.
func (e *egress) flush() error {
	for _, l := range e.lanes.all {
		if len(l.out) == 0 {
			continue
		}
		sent, err := l.conn.WriteBatch(l.out)
		if err != nil {
			return fmt.Errorf("sending from %v: %w", l.conn.LocalAddr(), err)
		}
		if sent < len(l.out) {
			e.failed(l)
		}
		for i := range l.out {
			if l.out[i].Errno == 0 {
				e.tally.pass(l.out[i].Len())
			}
		}
		l.out, l.origins = l.out[:0], l.origins[:0]
	}
	e.segmenter.Reset()
	return nil
}
