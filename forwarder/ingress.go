package forwarder

import (
	"context"
	"net/netip"

	"weft/routes"
	"weft/tunnel"
)

// ingressBatch is how many datagrams or trains one wake-up takes at most.
const ingressBatch = 64

// ingress carries packets from one conn into the TUN device.
type ingress struct {
	live       *routes.Live
	conn       *sharedConn
	format     format
	vni        uint32     // for formatVXLAN
	mac        tunnel.MAC // for formatVXLAN: ours in the conn's family
	neighbours neighbours // for formatVXLAN
	echoes     echoes
	device     *sharedQueue
	mtu        int
	in         []tunnel.Datagram
	packets    []tunnel.Packet
	tally      tally
}

func newIngress(f *Forwarder, c *Config, l *lane, device *sharedQueue) *ingress {
	return &ingress{
		live: c.Routes, conn: l.conn, format: l.format, device: device, mtu: c.MTU,
		vni: c.VXLAN.VNI, mac: c.VXLAN.mac(l.conn.LocalAddr().Addr()), neighbours: newNeighbours(),
		echoes: newEchoes(&f.trials),
		in:     make([]tunnel.Datagram, ingressBatch),
		tally:  newTally(),
	}
}

// run forwards batches until the conn ends, and returns why it ended.
func (in *ingress) run(context.Context) error {
	for {
		if err := in.batch(); err != nil {
			return err
		}
	}
}

// batch carries what one wake-up of the conn brings.
func (in *ingress) batch() error {
	n, err := in.conn.ReadBatch(in.in)
	if err != nil {
		return err
	}
	table := in.live.Load()
	in.packets = in.packets[:0]
	for i := range n {
		in.datagram(table, &in.in[i])
	}
	err = in.flush()
	in.tally.publish()
	return err
}

// datagram takes a train apart. A whole superpacket may come with a segment size too, its inner one:
// then the first IP header speaks for all bytes there are.
func (in *ingress) datagram(table *routes.Table, d *tunnel.Datagram) {
	rest, size := d.Payload, d.SegmentSize
	in.echoes.from = d.Addr
	if size == 0 || size >= len(rest) || in.spansAll(rest) {
		in.packet(table, d.Addr.Addr(), rest, size)
		return
	}
	for len(rest) > size {
		in.packet(table, d.Addr.Addr(), rest[:size], 0)
		rest = rest[size:]
	}
	in.packet(table, d.Addr.Addr(), rest, 0)
}

// spansAll reports whether the packet that data starts with, in the conn's format, fills it.
func (in *ingress) spansAll(data []byte) bool {
	switch {
	case in.format == formatVXLAN:
		_, inner, ok := tunnel.ParseVXLAN(data)
		if !ok {
			return false
		}
		data = inner.Data
	case in.format == formatUDP && tunnel.IsGUE(data):
		inner, ok := tunnel.ParseGUE(data)
		if !ok {
			return false
		}
		data = inner.Data
	}
	var p tunnel.Inner
	return p.Parse(data) && p.Len == len(data)
}

// packet takes the encapsulation off one datagram and puts the inner packet among those for the device,
// or drops it.
func (in *ingress) packet(table *routes.Table, from netip.Addr, data []byte, hint int) {
	switch {
	case in.format != formatIPIP && tunnel.IsEcho(data):
		in.echo(table, data)
		return
	case in.format == formatVXLAN:
		in.frame(table, from, data, hint)
		return
	case in.format == formatUDP && tunnel.IsGUE(data):
		// That the checksum is partial is seen again below, in the field itself.
		inner, ok := tunnel.ParseGUE(data)
		if !ok {
			in.refuse(table, from, Malformed)
			return
		}
		data = inner.Data
	}
	// Only Ethernet pads: bytes behind the packet mean that sender and header disagree.
	var p tunnel.Inner
	if !p.Parse(data) || p.Len != len(data) || in.format == formatIPIP && p.V6 {
		in.refuse(table, from, Malformed)
		return
	}
	if _, reason, ok := admit(table, from, &p); !ok {
		in.refuse(table, from, reason)
		return
	}
	in.accept(table, from, data, hint)
}

// accept puts an admitted packet among those for the device.
func (in *ingress) accept(table *routes.Table, from netip.Addr, data []byte, hint int) {
	packet, ok := tunnel.Superpacket(data, hint, in.mtu)
	if !ok {
		in.refuse(table, from, TooBig)
		return
	}
	in.packets = append(in.packets, packet)
}

// refuse drops a packet. That the sender is no peer at all outweighs whatever else is wrong.
func (in *ingress) refuse(table *routes.Table, from netip.Addr, reason Reason) {
	if !table.KnownOuter(from) {
		reason = UnknownPeer
	}
	in.tally.drop(reason)
}

// admit decides whether a well-formed packet may come in: its source must belong to the peer at the
// outer address that it came from, its destination to this host. hop is the way back to the peer.
func admit(table *routes.Table, from netip.Addr, p *tunnel.Inner) (hop *routes.Hop, reason Reason, ok bool) {
	var own, local bool
	if p.V6 {
		hop, own, local = table.Lookup6(p.Src6), table.Local6(p.Src6), table.Local6(p.Dst6)
	} else {
		hop, own, local = table.Lookup4(p.Src4), table.Local4(p.Src4), table.Local4(p.Dst4)
	}
	switch {
	case own || p.MartianSource() || p.MartianDestination():
		return nil, Martian, false
	case hop == nil || hop.Outer.Addr() != from:
		return nil, SpoofedSource, false
	case !local && table.KnownOuter(p.Dst()), table.MayRecurse() && table.Recursive(p.Dst()):
		return nil, Recursion, false
	case !local:
		return nil, NotLocal, false
	}
	return hop, 0, true
}

// flush hands the batch to the device.
func (in *ingress) flush() error {
	if len(in.packets) == 0 {
		return nil
	}
	taken, err := in.device.WriteBatch(in.packets)
	for i := range in.packets {
		in.tally.bytes += uint64(len(in.packets[i].Data))
	}
	in.tally.packets += uint64(taken)
	in.tally.drops[QueueFull] += uint64(len(in.packets) - taken)
	in.tally.dropped = in.tally.dropped || taken < len(in.packets)
	return err
}
