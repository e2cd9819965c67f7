package forwarder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"weft/routes"
	"weft/tunnel"

	"golang.org/x/sync/errgroup"
)

// Config is everything a forwarder stands on. It is read by New and not changed afterwards.
type Config struct {
	// Workers move the packets, each on its own descriptors; at least one.
	Workers []Worker
	// Routes is the table in force; the caller publishes into it.
	Routes *routes.Live
	// MTU is the TUN device's, in bytes: what no inner packet on the wire exceeds. 576 to 65,535.
	MTU int
	// WireMTU is the largest UDP payload, in bytes, that fits the underlay's MTU. Where it is larger than
	// MTU, the room between them is for encapsulation headers. 0: there is none.
	WireMTU int
	// Addr4 and Addr6 are this host's addresses on the TUN device, the source of ICMP errors. Without
	// one, packets of that family are dropped in silence. Linux takes a packet from its own address
	// on a device only where net.ipv4.conf.<device>.accept_local is 1.
	Addr4, Addr6 netip.Addr
	// VXLAN says who this host is to VXLAN peers. Needed where a worker has VXLAN conns.
	VXLAN VXLAN
	// Stop must unblock every waiting ReadBatch, which is done by closing the queues and conns. Run
	// calls it once, when its context ends or a worker fails. Whoever opened them passes it, since
	// whoever opens closes; without it the opener has to close them himself for Run to return.
	Stop func()
	// SplitDirections gives each direction a thread of its own even where one thread could serve both
	// (all descriptors Pollable). It suits hosts with cores to spare and no segmentation offload.
	SplitDirections bool
	// Log is told when runs to a peer go off or on. nil: slog.Default().
	Log *slog.Logger
}

// A Worker is one queue with the conns that its packets take.
type Worker struct {
	Queue tunnel.Queue
	// Conns are the sockets, by the format that they carry: bare packets and GUE, VXLAN, or IPv4 in IPv4.
	// A host has those that its network can contain, both of the first two while it migrates from one
	// to the other; at least one in all. All are read. A packet is sent from one of its hop's format
	// and outer address family, by flow: one inner flow always leaves through the same conn, so several
	// give a host several source ports.
	Conns, VXLAN, IPIP []tunnel.Conn
	// Outlet, if there is one, takes superpackets to peers that may get them whole. The worker alone uses it.
	Outlet *tunnel.Outlet
}

// VXLAN is this host's place in a VXLAN network.
type VXLAN struct {
	VNI uint32 // 24 bits; frames of another are refused
	// MAC4 and MAC6 are the VTEP MACs that this host's lease tells (BackendData, BackendV6Data), by outer
	// address family: flannel has a device for each. Frames come to them and go out from them. Needed
	// for each family that a VXLAN conn has.
	MAC4, MAC6 tunnel.MAC
}

// A Forwarder moves packets between TUN queues and UDP conns while it runs.
type Forwarder struct {
	workers []*worker
	stop    func()
	peers   peerErrors
	paths   paths
	trials  trials
}

// New checks the config and prepares the workers' memory. It starts nothing. Descriptors that can be
// polled are set to non-blocking.
func New(c Config) (*Forwarder, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("preparing forwarder: %w", err)
	}
	f := &Forwarder{stop: c.Stop}
	for i := range c.Workers {
		f.workers = append(f.workers, newWorker(f, &c, i))
	}
	f.trials = newTrials(&c, &f.workers[0].egress.lanes)
	return f, nil
}

func (c *Config) check() error {
	switch {
	case len(c.Workers) == 0:
		return errors.New("no workers: at least one is needed")
	case c.Routes == nil:
		return errors.New("no route table")
	case c.MTU < 576 || c.MTU > 65535:
		return fmt.Errorf("MTU %d is out of range: use 576 to 65535", c.MTU)
	case c.Addr4.IsValid() && !c.Addr4.Is4():
		return fmt.Errorf("Addr4 %v is not an IPv4 address", c.Addr4)
	case c.Addr6.IsValid() && (!c.Addr6.Is6() || c.Addr6.Is4In6()):
		return fmt.Errorf("Addr6 %v is not an IPv6 address", c.Addr6)
	}
	for i, w := range c.Workers {
		if w.Queue == nil || len(w.conns()) == 0 {
			return fmt.Errorf("worker %d: a queue and at least one conn are needed", i)
		}
		if err := c.VXLAN.check(w.VXLAN); err != nil {
			return fmt.Errorf("worker %d: %w", i, err)
		}
	}
	return nil
}

func (v *VXLAN) check(conns []tunnel.Conn) error {
	for _, conn := range conns {
		if mac := v.mac(conn.LocalAddr().Addr()); !mac.Usable() || v.VNI > tunnel.MaxVNI {
			return fmt.Errorf("VXLAN conn %v: VNI %d and MAC %x: the VNI has 24 bits, and the MAC of its address family "+
				"must be one that a single device can have", conn.LocalAddr(), v.VNI, mac)
		}
	}
	return nil
}

// mac returns this host's MAC towards peers of an outer address's family.
func (v *VXLAN) mac(outer netip.Addr) tunnel.MAC {
	if outer.Is4() {
		return v.MAC4
	}
	return v.MAC6
}

// Run forwards until ctx ends, then calls Config.Stop, lets every batch that has been read go its way, and
// returns nil. It returns early, after Stop too, with the error of the first descriptor that failed:
// a device that was deleted, a queue or conn closed although ctx hasn't ended. Run closes none of
// them itself. It may be called once.
func (f *Forwarder) Run(ctx context.Context) error {
	for _, w := range f.workers {
		defer w.close()
		if err := w.open(); err != nil {
			return fmt.Errorf("forwarding: %w", err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range f.workers {
		for name, run := range w.directions() {
			group.Go(func() error { return onThread(ctx, name, run) })
		}
	}
	group.Go(func() error { return f.paths.forget(ctx) })
	group.Go(func() error { return f.trials.run(ctx) })
	group.Go(func() error { return f.recheckOutlets(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		f.end()
		return nil
	})
	return group.Wait()
}

// end unblocks every worker.
func (f *Forwarder) end() {
	for _, w := range f.workers {
		if w.poll != nil {
			w.poll.wake()
		}
	}
	if f.stop != nil {
		f.stop()
	}
}
