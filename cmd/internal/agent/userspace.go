package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"weft/cmd/internal/admin"
	"weft/forwarder"
	"weft/kernelmode"
	"weft/lease"
	"weft/tunnel"
)

// userPath is the datapath of weft's own forwarder: the TUN device's queues, the sockets, and the
// forwarder between. Of the kernel it needs one device and one route for all peers, and with
// DirectRouting a route for each that is on the same link.
type userPath struct {
	*table
	choice    choice
	formats   formats
	base      kernelmode.State // without what depends on peers
	workers   []forwarder.Worker
	forwarder *forwarder.Forwarder
	direct    []kernelmode.Object // of the latest snapshot; follow's
}

// openUserspace opens device and sockets for the formats that the snapshot's peers need.
func (s *session) openUserspace(c choice, snapshot *lease.Snapshot) (*userPath, error) {
	t, err := newTable(s.fabric, s.options)
	if err != nil {
		return nil, err
	}
	u := &userPath{table: t, choice: c, formats: s.fabric.formats(snapshot)}
	if u.base, err = s.fabric.plan(s.options); err != nil {
		return nil, err
	}
	queues, err := openQueues(s.options)
	if err != nil {
		return nil, s.withoutTUN(err)
	}
	u.workers = workersOf(queues)
	if err := s.replaceKernel(u.base); err != nil {
		u.close()
		return nil, err
	}
	if err := u.start(s.log); err != nil {
		u.close()
		return nil, err
	}
	return u, nil
}

// withoutTUN adds the remedy to why there is no device.
func (s *session) withoutTUN(err error) error {
	if can := s.kernel.Probe(kernelmode.FeatureTUN); !can.OK() {
		return fmt.Errorf("%w: %s", err, can.Remedy)
	}
	return err
}

// replaceKernel removes the devices that a kernel datapath left, which hold the port that sockets are
// to be bound to. Their routes go with them, and the way through the TUN is there by then.
func (s *session) replaceKernel(base kernelmode.State) error {
	devices := s.leftovers()
	if len(devices) == 0 {
		return nil
	}
	have, err := s.kernel.Read(kernelmode.Scope{Devices: devices})
	if err != nil {
		return fmt.Errorf("looking for devices of an earlier datapath: %w", err)
	}
	if len(have.Links) > 0 {
		if _, err := kernelmode.Apply(s.kernel, base); err != nil {
			return fmt.Errorf("setting up device %s: %w", s.options.TUNName, err)
		}
		if _, err := kernelmode.Apply(s.kernel, kernelmode.Removal(nil, devices...)); err != nil {
			return fmt.Errorf("removing the kernel datapath's devices: %w", err)
		}
		s.log.Info("devices of the kernel's datapath removed", "devices", devices)
	}
	s.removed(devices)
	return nil
}

// start opens the sockets and makes the forwarder, over queues that are open.
func (u *userPath) start(log *slog.Logger) (err error) {
	if err := openConns(u.workers, u.fabric, u.options, u.formats, log); err != nil {
		return err
	}
	u.forwarder, err = forwarder.New(forwarder.Config{
		Workers: u.workers,
		Routes:  &u.live,
		MTU:     u.fabric.mtu(),
		Addr4:   u.fabric.own.Subnet.Addr(),
		Addr6:   u.fabric.own.Subnet6.Addr(),
		VXLAN: forwarder.VXLAN{
			VNI: uint32(u.fabric.vni()), MAC4: tunnel.MAC(u.fabric.vtep.mac), MAC6: tunnel.MAC(u.fabric.vtep.mac6),
		},
		Stop: u.close,

		SplitDirections: u.options.Split,
	})
	return err
}

// follow publishes the routes to the snapshot's peers. errFormats: they need other sockets than are open.
func (u *userPath) follow(s *lease.Snapshot) (changed int, err error) {
	f := u.fabric
	f.config = s.Config
	if !u.formats.cover(f.formats(s)) {
		return 0, errFormats
	}
	u.direct = f.direct(s)
	return u.table.follow(s)
}

// Run forwards until ctx ends.
func (u *userPath) Run(ctx context.Context) error { return u.forwarder.Run(ctx) }

func (u *userPath) plan() kernelmode.State { return u.base.With(u.direct...) }

// close gives everything back. The device goes with its last queue, and the routes with the device.
func (u *userPath) close() { closeWorkers(u.workers) }

// describe says what moves the packets, what the kernel helps with, and what was carried and refused.
func (u *userPath) describe(state *admin.State) {
	d := u.choice.describe(u.fabric.config)
	d.Device, d.MTU, d.Port = u.options.TUNName, u.fabric.mtu(), u.fabric.port(u.options)
	d.Workers, d.Formats = len(u.workers), u.formats.names()
	d.RemoteChecksum = u.fabric.caps(u.options) != 0
	d.Lowered = slices.Clone(u.options.broken)
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
	state.Problems = slices.Concat(state.Problems, skipped(u.problems()))
	state.Traffic = map[string]uint64{
		"egress_packets":  c.Egress.Packets,
		"egress_bytes":    c.Egress.Bytes,
		"ingress_packets": c.Ingress.Packets,
		"ingress_bytes":   c.Ingress.Bytes,
		"icmp_errors":     c.ICMPSent,
	}
}
