package agent

import (
	"net/netip"
	"runtime"

	"weft/forwarder"
	"weft/tunnel"
)

// openWorkers opens the device and the sockets, as the operator wants them: one queue a worker, and
// for each address family one socket on the port that peers send to.
func openWorkers(f fabric, o Options) ([]forwarder.Worker, error) {
	queues, err := openQueues(o)
	if err != nil {
		return nil, err
	}
	workers := make([]forwarder.Worker, len(queues))
	for i := range workers {
		workers[i].Queue = queues[i]
	}
	for i := range workers {
		if err := openConns(&workers[i], f, o, len(workers) > 1); err != nil {
			closeWorkers(workers)
			return nil, err
		}
	}
	return workers, nil
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

// openConns opens a worker's sockets. The first of each family has the port that peers send to, and
// shares it with those of other workers; the others only give flows more source ports.
func openConns(w *forwarder.Worker, f fabric, o Options, shared bool) error {
	for _, local := range f.local() {
		for i := range o.SourcePorts {
			at := netip.AddrPortFrom(local, uint16(f.port(o)))
			if i > 0 {
				at = netip.AddrPortFrom(local, 0)
			}
			conn, err := openConn(at, o, shared && i == 0)
			if err != nil {
				return err
			}
			w.Conns = append(w.Conns, conn)
		}
	}
	return nil
}

func openConn(at netip.AddrPort, o Options, shared bool) (tunnel.Conn, error) {
	options := tunnel.ConnOptions{ReusePort: shared}
	if o.IO == "portable" {
		return tunnel.ListenPortableConn(at, options)
	}
	return tunnel.ListenFastConn(at, options, o.Modes)
}

// closeWorkers closes what is open of them. The device goes with its last queue.
func closeWorkers(workers []forwarder.Worker) {
	for _, w := range workers {
		_ = w.Queue.Close()
		for _, conn := range w.Conns {
			_ = conn.Close()
		}
	}
}
