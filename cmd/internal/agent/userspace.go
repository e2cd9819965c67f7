package agent

import (
	"context"
	"slices"

	"weft/cmd/internal/admin"
	"weft/forwarder"
	"weft/kernelmode"
)

// userspace is the datapath of weft's own forwarder: the TUN device's queues, the sockets, and the
// forwarder between. The kernel's part doesn't change with the peers: one device, one route.
type userspace struct {
	*table
	state     kernelmode.State
	workers   []forwarder.Worker
	forwarder *forwarder.Forwarder
}

// openUserspace opens device and sockets.
func openUserspace(f fabric, o Options, t *table) (*userspace, error) {
	u := &userspace{table: t}
	var err error
	if u.state, err = f.plan(o); err != nil {
		return nil, err
	}
	if u.workers, err = openWorkers(f, o); err != nil {
		return nil, err
	}
	u.forwarder, err = forwarder.New(forwarder.Config{
		Workers: u.workers,
		Routes:  &t.live,
		MTU:     f.mtu(),
		Addr4:   f.own.Subnet.Addr(),
		Addr6:   f.own.Subnet6.Addr(),
		Stop:    u.close,

		SplitDirections: o.Split,
	})
	if err != nil {
		u.close()
		return nil, err
	}
	return u, nil
}

// Run forwards until ctx ends.
func (u *userspace) Run(ctx context.Context) error { return u.forwarder.Run(ctx) }

func (u *userspace) plan() kernelmode.State { return u.state }

// close gives everything back. The device goes with its last queue, and the routes with the device.
func (u *userspace) close() { closeWorkers(u.workers) }

// describe says what moves the packets, what the kernel helps with, and what was carried and refused.
func (u *userspace) describe(state *admin.State) {
	d := admin.Datapath{
		Kind:    "userspace",
		Why:     "the only one of this version",
		Device:  u.options.TUNName,
		MTU:     u.fabric.mtu(),
		Port:    u.fabric.port(u.options),
		Workers: len(u.workers),

		RemoteChecksum: u.options.remoteSums(),
		Lowered:        slices.Clone(u.options.broken),
	}
	for i, w := range u.workers {
		o := offloadsOf(w)
		if i == 0 {
			d.Offloads = o
		}
		d.Offloads = both(d.Offloads, o)
		d.Lowered = append(d.Lowered, lowered(w)...)
	}
	c := u.forwarder.Counters()
	state.Datapath, state.Peers, state.Drops = d, u.peers(), c.Drops
	state.Traffic = map[string]uint64{
		"egress_packets":  c.Egress.Packets,
		"egress_bytes":    c.Egress.Bytes,
		"ingress_packets": c.Ingress.Packets,
		"ingress_bytes":   c.Ingress.Bytes,
		"icmp_errors":     c.ICMPSent,
	}
}
