package agent

import (
	"runtime"

	"weft/tunnel"
)

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
