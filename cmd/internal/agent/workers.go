package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"syscall"

	"weft/forwarder"
	"weft/tunnel"
)

// workersOf gives each queue a worker, without sockets so far.
func workersOf(queues []tunnel.Queue) []forwarder.Worker {
	workers := make([]forwarder.Worker, len(queues))
	for i := range workers {
		workers[i].Queue = queues[i]
	}
	return workers
}

// openQueues opens the TUN device, which comes into being with its first queue.
func openQueues(o Options) ([]tunnel.Queue, error) {
	if o.IO == "portable" {
		queue, err := tunnel.OpenPortableQueue(o.TUNName)
		if err != nil {
			return nil, err
		}
		return []tunnel.Queue{queue}, nil
	}
	fast, err := tunnel.OpenFastQueues(o.TUNName, tunnel.QueueOptions{Modes: o.Modes, Queues: o.workers()})
	if err != nil {
		return nil, err
	}
	queues := make([]tunnel.Queue, len(fast))
	for i, q := range fast {
		queues[i] = q
	}
	return queues, nil
}

// mostWorkers is where more queues stop paying by themselves: one worker fills a 10 Gb/s link.
const mostWorkers = 4

// workers is --workers, or half the CPUs: the other half runs what sends and receives the packets.
func (o Options) workers() int {
	if o.Workers != 0 {
		return o.Workers
	}
	return min(mostWorkers, max(1, runtime.NumCPU()/2))
}

// openConns opens the sockets of all workers. What it has opened on an error is in workers too, for
// closeWorkers.
func openConns(workers []forwarder.Worker, f fabric, o Options, want formats, log *slog.Logger) error {
	for kind, wanted := range want.byName() {
		if !wanted {
			continue
		}
		port, own := f.receives(kind, o)
		for i := range workers {
			conns, err := openFormat(kind, f, o, tunnel.Part{Index: i, Of: len(workers)}, port)
			if errors.Is(err, syscall.EADDRINUSE) && !own {
				// Only peers that haven't heard yet of this host's type would send there.
				log.Warn("another program has the port: packets are sent in this format, and not received", "format", kind, "port", port)
				conns, err = openFormat(kind, f, o, tunnel.Part{Index: i, Of: len(workers)}, 0)
			}
			switch kind {
			case typeUDP:
				workers[i].Conns = conns
			case typeVXLAN:
				workers[i].VXLAN = conns
			default:
				workers[i].IPIP = conns
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
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
			conn, err := openConn(at, o, shared)
			if err != nil {
				return conns, err
			}
			conns = append(conns, conn)
		}
	}
	return conns, nil
}

func openConn(at netip.AddrPort, o Options, shared bool) (tunnel.Conn, error) {
	options := tunnel.ConnOptions{ReusePort: shared}
	if o.IO == "portable" {
		return tunnel.ListenPortableConn(at, options)
	}
	return tunnel.ListenFastConn(at, options, o.Modes)
}

// connsOf lists a worker's sockets of all formats.
func connsOf(w forwarder.Worker) []tunnel.Conn { return slices.Concat(w.Conns, w.VXLAN, w.IPIP) }

// closeWorkers closes what is open of them. The device goes with its last queue.
func closeWorkers(workers []forwarder.Worker) {
	for _, w := range workers {
		_ = w.Queue.Close()
		for _, conn := range connsOf(w) {
			_ = conn.Close()
		}
	}
}
