package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"weft/cmd/internal/admin"
	"weft/forwarder"
	"weft/kernelmode"
	"weft/lease"
	"weft/tunnel"
)

// userPath is the datapath of weft's own forwarder: the TUN device's queues, the sockets, and a forwarder
// between. Of the kernel it needs one device and one route for all peers, and with DirectRouting a
// route for each that is on the same link.
//
// follow and plan are the session's follower's, and so is the changing of sockets.
type userPath struct {
	*table
	*lineage
	log     *slog.Logger
	base    kernelmode.State // without what depends on peers
	direct  []kernelmode.Object
	formats formats
	queues  []tunnel.Queue
	outlets []*tunnel.Outlet // one a queue, or none
	sockets []sockets        // one for each format, and others for a moment while the port changes hands
	taken   atomic.Pointer[formats]
	front   *front // the express lane, where there is one
	express bool   // the plan is for one
}

// openUserspace opens device and sockets for the formats that the snapshot's peers need. Where the kernel's
// devices of an earlier run have the port, they go.
func (s *session) openUserspace(snapshot *lease.Snapshot) (*userPath, error) {
	if old := s.heritage; old != nil && !old.alive() {
		s.disinherit()
	} else if old != nil {
		u, err := s.succeed(old, snapshot)
		if err == nil {
			s.heritage = nil
		}
		return u, err
	}
	u, err := s.openDevice(snapshot)
	if err != nil {
		return nil, err
	}
	if err := s.replaceKernel(u.base); err != nil {
		u.close()
		return nil, err
	}
	if err := u.open(u.formats); err != nil {
		u.close()
		return nil, err
	}
	if err := u.begin(u.generation); err != nil {
		u.close()
		return nil, err
	}
	s.run(u.lineage)
	return u, nil
}

// openDevice makes a userPath with a device and without sockets.
func (s *session) openDevice(snapshot *lease.Snapshot) (*userPath, error) {
	t, err := newTable(s.fabric, s.options)
	if err != nil {
		return nil, err
	}
	u := &userPath{table: t, lineage: &lineage{}, log: s.log, formats: s.fabric.formats(snapshot), front: newFront(s.lanes)}
	if u.base, err = s.fabric.plan(s.options); err != nil {
		return nil, err
	}
	if u.queues, err = s.takeQueues(); err != nil {
		return nil, s.withoutTUN(err)
	}
	if u.outlets, err = openOutlets(s.fabric, s.options, len(u.queues), s.log); err != nil {
		u.close()
		return nil, err
	}
	return u, nil
}

// open opens sockets of formats that there are none of so far.
func (u *userPath) open(want formats) error {
	for kind, wanted := range want.byName() {
		port, own := u.fabric.receives(kind, u.options)
		have := func(s sockets) bool { return s.kind == kind && (s.port == port || s.port == 0 || !own) }
		if !wanted || slices.ContainsFunc(u.sockets, have) {
			continue
		}
		opened, err := openSockets(kind, u.fabric, u.options, len(u.queues), u.log)
		if err != nil {
			return err
		}
		u.sockets = append(u.sockets, opened)
	}
	u.formats = want
	u.taken.Store(&want)
	return nil
}

// generation makes a forwarder over what is open.
func (u *userPath) generation() (*generation, error) {
	stop := u.shut
	if reusable(u.options) {
		stop = func() {} // it is woken, and the queues are kept
	}
	return newGeneration(forwarder.Config{
		Workers: withOutlets(workersOf(u.queues, u.sockets), u.outlets),
		Routes:  &u.live,
		MTU:     u.fabric.mtu(),
		Addr4:   u.fabric.own.Subnet.Addr(),
		Addr6:   u.fabric.own.Subnet6.Addr(),
		VXLAN: forwarder.VXLAN{
			VNI: uint32(u.fabric.vni()), MAC4: tunnel.MAC(u.fabric.vtep.mac), MAC6: tunnel.MAC(u.fabric.vtep.mac6),
		},
		Stop: stop,

		SplitDirections: u.options.Split,
		Log:             u.log,
	})
}

// withoutTUN adds the remedy to why there is no device.
func (s *session) withoutTUN(err error) error {
	if can := s.try(kernelmode.FeatureTUN); !can.OK() {
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

// follow publishes the routes to the snapshot's peers. Sockets for what they take in addition are opened
// without a packet lost; errFormats: these queues don't allow that.
func (u *userPath) follow(s *lease.Snapshot) (changed int, err error) {
	f := u.fabric
	f.config = s.Config
	if want := f.formats(s); !u.formats.cover(want) {
		if !reusable(u.options) {
			return 0, errFormats
		}
		if err := u.open(u.formats.and(want)); err != nil {
			return 0, err
		}
		if err := u.begin(u.generation); err != nil {
			return 0, err
		}
		u.log.Info("peers of another backend type came: sockets opened for them", "formats", u.formats.names())
	}
	u.direct = f.direct(s)
	if changed, err = u.table.follow(s); err == nil && u.front.on() {
		if err := u.front.publish(u.laneConfig(), u.laneRoutes()); err != nil {
			u.front.lose(laneFault{wordLaneFailed, fmt.Errorf("the lane doesn't take revision %d of the leases: %w", s.Revision, err)})
		}
	}
	return changed, err
}

// closePort gives the port up, and goes on with the sockets that are left.
func (u *userPath) closePort() error {
	return u.closeSockets(func(s sockets) bool { return s.port != 0 && s.kind == typeVXLAN })
}

// closeSockets closes some of the sockets between two generations.
func (u *userPath) closeSockets(which func(sockets) bool) error {
	return u.begin(func() (*generation, error) {
		for _, s := range u.sockets {
			if which(s) {
				s.close()
			}
		}
		u.sockets = slices.DeleteFunc(slices.Clone(u.sockets), which)
		return u.generation()
	})
}

// openPort takes the port, where it isn't taken yet. The kernel may be a moment late in giving it up.
func (u *userPath) openPort() error {
	kind := u.fabric.config.BackendType
	if kind != typeVXLAN || slices.ContainsFunc(u.sockets, func(s sockets) bool { return s.port != 0 && s.kind == kind }) {
		return nil
	}
	port, _ := u.fabric.receives(kind, u.options)
	opened, err := bindSockets(kind, u.fabric, u.options, len(u.queues), port)
	for tries := 0; errors.Is(err, syscall.EADDRINUSE) && tries < portTries; tries++ {
		time.Sleep(portPause)
		opened, err = bindSockets(kind, u.fabric, u.options, len(u.queues), port)
	}
	if err != nil {
		return err
	}
	u.sockets = append(u.sockets, opened)
	return u.begin(u.generation)
}

const (
	portTries = 200
	portPause = time.Millisecond
)

func (u *userPath) plan() kernelmode.State {
	state := u.base.With(u.direct...)
	if u.express {
		state.Sysctls = append(state.Sysctls, u.laneSysctls()...)
	}
	return state
}

// close gives everything back. The device goes with its last queue, and the routes with the device; but for those of
// a lane that was abandoned before.
func (u *userPath) close() {
	if u.front.on() {
		if err := errors.Join(u.front.lift(u.options.TUNName), u.front.lanes.Keep(u.queues[0], false)); err != nil {
			u.log.Warn("the lane wasn't lifted", "err", err)
		}
	}
	u.end()
	u.shut()
}

// shut closes the descriptors.
func (u *userPath) shut() {
	for _, q := range u.queues {
		_ = q.Close()
	}
	for _, o := range u.outlets {
		_ = o.Close()
	}
	for _, s := range u.sockets {
		s.close()
	}
}

// describe says what moves the packets, what the kernel helps with, and what was carried and refused.
func (u *userPath) describe(state *admin.State) {
	d := admin.Datapath{Device: u.options.TUNName, MTU: u.fabric.mtu(), Port: u.fabric.port(u.options)}
	workers := u.workers()
	d.Workers, d.Formats = len(workers), u.taken.Load().names()
	d.RemoteChecksum = u.fabric.caps(u.options) != 0
	d.Lowered = slices.Clone(u.options.broken)
	for i, w := range workers {
		o := offloadsOf(w)
		if i == 0 {
			d.Offloads = o
		}
		d.Offloads = both(d.Offloads, o)
		d.Lowered = append(d.Lowered, lowered(w)...)
	}
	d.Lowered = append(d.Lowered, u.runsOff()...)
	c := u.counters()
	state.Datapath, state.Peers, state.Drops = d, u.peers(), c.Drops
	state.Problems = slices.Concat(state.Problems, skipped(u.problems()))
	state.Traffic = map[string]uint64{
		"egress_packets":  c.Egress.Packets,
		"egress_bytes":    c.Egress.Bytes,
		"ingress_packets": c.Ingress.Packets,
		"ingress_bytes":   c.Ingress.Bytes,
		"icmp_errors":     c.ICMPSent,
	}
	u.front.describe(state)
}
