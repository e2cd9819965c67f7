package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"syscall"

	"weft/forwarder"
	"weft/tunnel"
)

// sockets are all of one format: for each worker those that it reads and sends from.
type sockets struct {
	kind  string // backend type whose format they carry
	port  uint16 // that peers send to; 0: these only send, or their format has none
	conns [][]tunnel.Conn
}

// openSockets opens a format's sockets for a number of workers. own: nobody could reach this host without
// the port; else another program may have it, and packets are only sent from here.
func openSockets(kind string, f fabric, o Options, workers int, log *slog.Logger) (sockets, error) {
	port, own := f.receives(kind, o)
	s, err := bindSockets(kind, f, o, workers, port)
	if errors.Is(err, syscall.EADDRINUSE) && !own {
		// Only peers that haven't heard yet of this host's type would send there.
		log.Warn("another program has the port: packets are sent in this format, and not received", "format", kind, "port", port)
		return bindSockets(kind, f, o, workers, 0)
	}
	return s, err
}

// bindSockets opens them at a port; 0: each has one of its own, and can only send.
func bindSockets(kind string, f fabric, o Options, workers int, port uint16) (sockets, error) {
	s := sockets{kind: kind, port: port}
	for i := range workers {
		conns, err := openFormat(kind, f, o, tunnel.Part{Index: i, Of: workers}, port)
		s.conns = append(s.conns, conns)
		if err != nil {
			s.close()
			return sockets{}, err
		}
	}
	return s, nil
}

// openFormat opens one worker's sockets of a format. The first of each family has the port that peers
// send to, and shares it with those of other workers; the others only give flows more source ports.
func openFormat(kind string, f fabric, o Options, part tunnel.Part, port uint16) (conns []tunnel.Conn, err error) {
	if kind == typeIPIP {
		if !f.local4().IsValid() {
			return nil, fmt.Errorf("opening sockets for ipip: the underlay %s has no IPv4 address, which it is carried over: choose another with --iface", f.underlay.Name)
		}
		conn, err := tunnel.ListenIPIPConn(f.local4(), part, tunnel.ConnOptions{}, o.Modes)
		if err != nil {
			return nil, err
		}
		return []tunnel.Conn{conn}, nil
	}
	for _, local := range f.local() {
		for i := range o.SourcePorts {
			at, shared := netip.AddrPortFrom(local, port), part.Of > 1 && port != 0
			if i > 0 {
				at, shared = netip.AddrPortFrom(local, 0), false
			}
			conn, err := openConn(at, o, tunnel.ConnOptions{ReusePort: shared, ZeroSums: kind == typeUDP})
			if err != nil {
				return conns, err
			}
			conns = append(conns, conn)
		}
	}
	return conns, nil
}

func openConn(at netip.AddrPort, o Options, options tunnel.ConnOptions) (tunnel.Conn, error) {
	if o.IO == "portable" {
		return tunnel.ListenPortableConn(at, options)
	}
	return tunnel.ListenFastConn(at, options, o.Modes)
}

func (s sockets) close() {
	for _, conns := range s.conns {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
}

// descriptors are the first worker's sockets of each outer family, -1 where there is none.
func (s sockets) descriptors() (v4, v6 int) {
	v4, v6 = -1, -1
	if len(s.conns) == 0 {
		return v4, v6
	}
	for _, conn := range s.conns[0] {
		p, ok := conn.(tunnel.Pollable)
		switch {
		case !ok:
		case conn.LocalAddr().Addr().Is4() && v4 < 0:
			v4 = p.FD()
		case conn.LocalAddr().Addr().Is6() && v6 < 0:
			v6 = p.FD()
		}
	}
	return v4, v6
}

// workersOf puts queues and sockets together.
func workersOf(queues []tunnel.Queue, all []sockets) []forwarder.Worker {
	workers := make([]forwarder.Worker, len(queues))
	for i := range workers {
		w := &workers[i]
		w.Queue = queues[i]
		for _, s := range all {
			to := &w.Conns
			switch s.kind {
			case typeVXLAN:
				to = &w.VXLAN
			case typeIPIP:
				to = &w.IPIP
			}
			*to = append(*to, s.conns[i]...)
		}
	}
	return workers
}

// connsOf lists a worker's sockets of all formats.
func connsOf(w forwarder.Worker) []tunnel.Conn { return slices.Concat(w.Conns, w.VXLAN, w.IPIP) }
