package agent

import (
	"context"
	"net/netip"

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
}

// openDatapath opens device and sockets. Nothing flows before Run; close must be called in any case.
func openDatapath(f fabric, o Options, live *routes.Live) (*datapath, error) {
	d := &datapath{device: o.TUNName, port: f.port(o)}
	if err := d.open(f, o); err != nil {
		d.close()
		return nil, err
	}
	var err error
	d.forwarder, err = forwarder.New(forwarder.Config{
		Workers: d.workers,
		Routes:  live,
		MTU:     f.mtu(),
		Addr4:   f.own.Subnet.Addr(),
		Addr6:   f.own.Subnet6.Addr(),
		Stop:    d.close,
	})
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// open fills d.workers.
func (d *datapath) open(f fabric, o Options) error {
	queue, err := tunnel.OpenPortableQueue(o.TUNName)
	if err != nil {
		return err
	}
	d.workers = []forwarder.Worker{{Queue: queue}}
	for _, local := range f.local() {
		conn, err := tunnel.ListenPortableConn(netip.AddrPortFrom(local, uint16(d.port)), tunnel.ConnOptions{})
		if err != nil {
			return err
		}
		d.workers[0].Conns = append(d.workers[0].Conns, conn)
	}
	return nil
}

// Run forwards until ctx ends.
func (d *datapath) Run(ctx context.Context) error { return d.forwarder.Run(ctx) }

// close gives everything back. The device goes with its last queue, and the routes with the device.
// It may be called more than once, also while Run runs, which it ends.
func (d *datapath) close() {
	for _, w := range d.workers {
		_ = w.Queue.Close()
		for _, conn := range w.Conns {
			_ = conn.Close()
		}
	}
}

// describe says what moves the packets, and what the kernel helps with.
func (d *datapath) describe() admin.Datapath {
	a := admin.Datapath{
		Kind:    "userspace",
		Device:  d.device,
		Port:    d.port,
		Workers: len(d.workers),
	}
	// A rung counts where every descriptor has it: what is off somewhere costs some flow.
	for i, w := range d.workers {
		o := w.Queue.Offloads()
		for _, conn := range w.Conns {
			c := conn.Offloads()
			o.GSO, o.GRO, o.Batch = c.GSO, c.GRO, c.Batch
		}
		if i == 0 {
			a.Offloads = o
		}
	}
	return a
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
