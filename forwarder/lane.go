package forwarder

import (
	"weft/routes"
	"weft/tunnel"
)

// A lane is one conn and the datagrams that wait for it during a batch.
type lane struct {
	conn    tunnel.Conn
	out     []tunnel.Datagram
	origins []origin
}

// An origin says which packet datagrams came from: those from the previous origin's end up to end.
type origin struct {
	end    int // index in lane.out behind the packet's last datagram
	packet int // index in egress.packets
	hop    *routes.Hop
}

// lanes are the conns of one worker, by outer address family.
type lanes struct {
	v4, v6 []*lane
	all    []*lane
}

func newLanes(conns []tunnel.Conn) (l lanes) {
	for _, conn := range conns {
		one := &lane{conn: conn}
		l.all = append(l.all, one)
		if conn.LocalAddr().Addr().Is4() {
			l.v4 = append(l.v4, one)
		} else {
			l.v6 = append(l.v6, one)
		}
	}
	return l
}

// pick returns the lane of a packet: always the same for one flow, so that it keeps its order and its
// source port. nil: this host has no socket in the hop's family.
func (l *lanes) pick(hop *routes.Hop, p *tunnel.Inner, data []byte) *lane {
	family := l.v6
	if hop.Outer.Addr().Is4() {
		family = l.v4
	}
	switch n := uint64(len(family)); n {
	case 0:
		return nil
	case 1:
		return family[0]
	default:
		return family[uint64(p.FlowHash(data))*n>>32]
	}
}
