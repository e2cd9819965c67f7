package agent

import (
	"context"
	"slices"

	"weft/cmd/internal/admin"
	"weft/forwarder"
	"weft/routes"
	"weft/tunnel"
)

// A datapath is the userspace one: the TUN device's queues, the sockets, and the forwarder between.
type datapath struct {
	device    string
	port      int
	workers   []forwarder.Worker
	forwarder *forwarder.Forwarder

	broken     []string // rungs that probing took off
	remoteSums bool     // this host leaves inner checksums to peers
}

// openDatapath opens device and sockets. Nothing flows before Run; close must be called in any case.
func openDatapath(f fabric, o Options, live *routes.Live) (*datapath, error) {
	d := &datapath{device: o.TUNName, port: f.port(o), remoteSums: o.remoteSums(), broken: o.broken}
	var err error
	if d.workers, err = openWorkers(f, o); err != nil {
		return nil, err
	}
	d.forwarder, err = forwarder.New(forwarder.Config{
		Workers: d.workers,
		Routes:  live,
		MTU:     f.mtu(),
		Addr4:   f.own.Subnet.Addr(),
		Addr6:   f.own.Subnet6.Addr(),
		Stop:    d.close,

		SplitDirections: o.Split,
	})
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// Run forwards until ctx ends.
func (d *datapath) Run(ctx context.Context) error { return d.forwarder.Run(ctx) }

// close gives everything back. The device goes with its last queue, and the routes with the device.
// It may be called more than once, also while Run runs, which it ends.
func (d *datapath) close() { closeWorkers(d.workers) }

// describe says what moves the packets, and what the kernel helps with.
func (d *datapath) describe() admin.Datapath {
	a := admin.Datapath{
		Kind:    "userspace",
		Why:     "the only one of this version",
		Device:  d.device,
		Port:    d.port,
		Workers: len(d.workers),

		RemoteChecksum: d.remoteSums,
		Lowered:        slices.Clone(d.broken),
	}
	for i, w := range d.workers {
		o := offloadsOf(w)
		if i == 0 {
			a.Offloads = o
		}
		a.Offloads = both(a.Offloads, o)
		a.Lowered = append(a.Lowered, lowered(w)...)
	}
	return a
}

// lowered lists what errors took from the descriptors of a worker since they were opened.
func lowered(w forwarder.Worker) (all []string) {
	add := func(name string, descriptor any) {
		if d, ok := descriptor.(interface{ LoweredBy() string }); ok && d.LoweredBy() != "" {
			all = append(all, name+": "+d.LoweredBy())
		}
	}
	add("device", w.Queue)
	for _, conn := range w.Conns {
		add(conn.LocalAddr().String(), conn)
	}
	return all
}

// offloadsOf joins what the queue and the conns of a worker have in use.
func offloadsOf(w forwarder.Worker) tunnel.Offloads {
	o := w.Queue.Offloads()
	o.GSO, o.GRO, o.Batch = true, true, true
	for _, conn := range w.Conns {
		c := conn.Offloads()
		o.GSO, o.GRO, o.Batch = o.GSO && c.GSO, o.GRO && c.GRO, o.Batch && c.Batch
	}
	return o
}

// both counts a rung only where every worker has it: what is off somewhere costs some flows.
func both(a, b tunnel.Offloads) tunnel.Offloads {
	return tunnel.Offloads{
		TSO: a.TSO && b.TSO, USO: a.USO && b.USO, GSO: a.GSO && b.GSO, GRO: a.GRO && b.GRO,
		MultiQueue: a.MultiQueue && b.MultiQueue, Batch: a.Batch && b.Batch,
	}
}

// counters returns what was carried and what was refused, by name.
func (d *datapath) counters() (traffic, drops map[string]uint64) {
	c := d.forwarder.Counters()
	return map[string]uint64{
		"egress_packets":  c.Egress.Packets,
		"egress_bytes":    c.Egress.Bytes,
		"ingress_packets": c.Ingress.Packets,
		"ingress_bytes":   c.Ingress.Bytes,
		"icmp_errors":     c.ICMPSent,
	}, c.Drops
}
