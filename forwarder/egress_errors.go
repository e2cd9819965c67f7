package forwarder

import (
	"syscall"

	"weft/tunnel"
)

// failed deals with the datagrams of a lane that the kernel refused. None of its errors ends
// forwarding: each is about one peer or one path.
func (e *egress) failed(l *lane) {
	i := 0
	for _, o := range l.origins {
		told := false
		for ; i < o.end; i++ {
			d := &l.out[i]
			switch d.Errno {
			case 0:
				continue
			case syscall.EMSGSIZE:
				e.forwarder.peers.count(o.hop.Outer, d.Errno)
				e.shrunk(l, o, d.Len(), &told)
			default:
				e.forwarder.peers.count(o.hop.Outer, d.Errno)
				e.tally.drop(SocketError)
			}
		}
	}
}

// shrunk lowers the hop's path MTU after an EMSGSIZE and tells the inner sender, once per packet
// however many of its segments were refused. A sender that allows fragments is told nothing: from
// the next packet on, it gets them.
func (e *egress) shrunk(l *lane, o origin, size int, told *bool) {
	e.tally.drop(TooBig)
	if *told {
		return
	}
	*told = true
	mtu := e.forwarder.paths.lower(l.conn.Conn, o.hop, size)
	if packet := &e.packets[o.packet]; !tunnel.Fragmentable(packet) {
		e.tellMTU(packet, mtu)
	}
}
