package forwarder

import (
	"sync"

	"weft/routes"
	"weft/tunnel"
)

// A format is what a socket's datagrams look like.
type format uint8

const (
	formatUDP   format = iota // headerless and GUE
	formatVXLAN               // VXLAN with Ethernet
	formatIPIP                // IPv4 in IPv4, on a raw socket
	formats
)

// formatOf returns the format of the sockets that an encapsulation needs.
func formatOf(e routes.Encapsulation) format {
	switch e {
	case routes.EncapVXLAN:
		return formatVXLAN
	case routes.EncapIPIP:
		return formatIPIP
	}
	return formatUDP
}

// conns lists all conns of a worker.
func (w *Worker) conns() (all []tunnel.Conn) {
	for _, of := range w.byFormat() {
		all = append(all, of...)
	}
	return all
}

func (w *Worker) byFormat() [formats][]tunnel.Conn {
	return [formats][]tunnel.Conn{formatUDP: w.Conns, formatVXLAN: w.VXLAN, formatIPIP: w.IPIP}
}

// A lane is one conn and the datagrams that wait for it during a batch.
type lane struct {
	conn    *sharedConn
	format  format
	out     []tunnel.Datagram
	origins []origin
}

// An origin says which packet datagrams came from: those from the previous origin's end up to end.
type origin struct {
	end    int // index in lane.out behind the packet's last datagram
	packet int // index in egress.packets
	hop    *routes.Hop
}

// endsWith reports whether the lane makes a run with a hop's next n datagrams.
func (l *lane) endsWith(hop *routes.Hop, n int) bool {
	return n > 1 || len(l.origins) > 0 && l.origins[len(l.origins)-1].hop == hop
}

// A sharedConn lets the goroutines of one worker take turns at writing to a conn: egress once per batch,
// ingress once per answer to a neighbour question or an echo, trials for their echoes. Reading needs no turn.
type sharedConn struct {
	tunnel.Conn
	writing sync.Mutex
}

// WriteBatch is Conn.WriteBatch, for any number of goroutines.
func (c *sharedConn) WriteBatch(out []tunnel.Datagram) (n int, err error) {
	c.writing.Lock()
	n, err = c.Conn.WriteBatch(out)
	c.writing.Unlock()
	return n, err
}

// lanes are the conns of one worker, by format and outer address family.
type lanes struct {
	v4, v6 [formats][]*lane
	all    []*lane
}

func newLanes(w *Worker) (l lanes) {
	for f, conns := range w.byFormat() {
		for _, conn := range conns {
			one := &lane{conn: &sharedConn{Conn: conn}, format: format(f)}
			l.all = append(l.all, one)
			if conn.LocalAddr().Addr().Is4() {
				l.v4[f] = append(l.v4[f], one)
			} else {
				l.v6[f] = append(l.v6[f], one)
			}
		}
	}
	return l
}

// pick returns the lane of a packet: always the same for one flow, so that it keeps its order and its
// source port. nil: this host has no socket of the hop's format and family.
func (l *lanes) pick(hop *routes.Hop, p *tunnel.Inner, data []byte) *lane {
	family := &l.v6
	if hop.Outer.Addr().Is4() {
		family = &l.v4
	}
	choice := family[formatOf(hop.Encapsulation)]
	switch n := uint64(len(choice)); n {
	case 0:
		return nil
	case 1:
		return choice[0]
	default:
		return choice[uint64(p.FlowHash(data))*n>>32]
	}
}
