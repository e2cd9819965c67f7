package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/mdlayher/sdnotify"
	"golang.org/x/sync/errgroup"

	"weft/cmd/internal/admin"
	"weft/kernelmode"
	"weft/lease"
)

// A member is an agent that knows its network and its place on the underlay: it keeps a lease, and
// carries packets for as long as it has one, whatever becomes of the network config.
type member struct {
	options  Options
	log      *slog.Logger
	progress *progress
	kernel   kernelmode.Kernel
	try      func(kernelmode.Feature) kernelmode.Capability // of that kernel
	shut     func() error                                   // closes it
	lanes    lanes
	where    StoreOptions // the store's, with the endpoints in use
	claims   *claims

	side     *side // the store, with the network config as it is for this host
	follower *lease.Follower
	keeper   *lease.Keeper
	copier   lease.Copier
	inForce  *lease.Mailbox[*lease.Snapshot] // what the store says, under the config in force; for the copy
	notify   *sdnotify.Notifier              // nil where systemd didn't start the agent; its methods take that

	session  atomic.Pointer[session] // nil while there is no lease
	lineages chan *lineage           // to be run beside the others

	// The rest is serve's and, while that waits for a session, its follow's.
	fabric   fabric          // config in force, underlay and VTEP, no lease
	kept     keepsake        // what is kept of the datapath between two runs
	fallback *fabric         // the one before, until a session has opened under this one
	failed   failure         // the last config that couldn't be opened under
	seed     *lease.Snapshot // of the copy, until the store has answered
	worked   bool            // a session has opened everything it needs
	untold   bool            // peers haven't been told of the config in force
	heritage *userPath       // of the session before, for the next one; it carries packets meanwhile
}

// enroll chooses the underlay, claims this host's address on it, and makes the parts of a member.
func (a *Agent) enroll(store lease.Store, where StoreOptions, start beginning) (*member, error) {
	kernel, err := kernelmode.Open()
	if err != nil {
		return nil, err
	}
	m := &member{
		options: a.options, log: a.log, progress: &a.progress, where: where,
		kernel: kernel, try: feature(kernel.Probe), shut: kernel.Close, lanes: kernelLanes{},
		claims: &a.claims, side: &side{Store: store}, fabric: fabric{config: start.config}, inForce: lease.NewMailbox[*lease.Snapshot](),
		lineages: make(chan *lineage, 1),
	}
	if err := m.settle(); err != nil {
		_ = kernel.Close()
		return nil, err
	}
	if err := m.equip(m.side, m.side.seen(start.copied)); err != nil {
		_ = kernel.Close()
		return nil, err
	}
	if m.notify, err = sdnotify.New(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("systemd won't learn when packets flow", "err", err)
	}
	return m, nil
}

// equip makes the tasks that know the store.
func (m *member) equip(store lease.Store, copied *lease.Copy) error {
	attrs, err := m.fabric.attrs(m.options)
	if err != nil {
		return err
	}
	before := previous(m.options.SubnetFile, func(err error) { m.log.Warn("earlier subnet not known", "err", err) })
	m.follower = lease.NewFollower(store, m.log)
	o := lease.KeeperOptions{
		Store:     store,
		Request:   lease.Request{Attrs: attrs, Previous: before.V4, Previous6: before.V6},
		Margin:    m.options.RenewMargin,
		Snapshots: m.follower.Snapshots(),
		Log:       m.log,
	}
	if copied != nil {
		// A state directory that was cloned with its machine must not make two owners of one subnet.
		if own := copied.Own.Attrs; !sameOuter(own, attrs) {
			return fmt.Errorf("%w: it is of the one at %s: delete the file if this machine was cloned from that", errForeignCopy, outer(own))
		}
		m.seed, o.Adopt = copied.Snapshot, copied.Own
		m.follower.Seed(copied.Snapshot)
	}
	m.keeper = lease.NewKeeper(o)
	m.copier = lease.Copier{
		Path: m.where.copyPath(m.options.StateDir), Store: m.where.identity(),
		Snapshots: m.inForce, Tenures: m.keeper.Tenures(), Log: m.log,
	}
	return nil
}

// sameOuter reports whether two records name one address. The port may be another by now.
func sameOuter(a, b lease.Attrs) bool {
	return a.PublicIP.IsValid() && a.PublicIP == b.PublicIP || a.PublicIPv6.IsValid() && a.PublicIPv6 == b.PublicIPv6
}

func outer(a lease.Attrs) string {
	if a.PublicIP.IsValid() {
		return a.PublicIP.String()
	}
	return a.PublicIPv6.String()
}

// settle chooses the underlay interface and claims the address that peers will know this host by.
func (m *member) settle() error {
	u, err := m.options.Interface.choose(m.kernel, m.fabric.config)
	if err != nil {
		return err
	}
	m.fabric.underlay = u
	if err := m.remember(); err != nil {
		return err
	}
	v4, v6 := m.fabric.outer()
	m.fabric.config = m.side.at(m.fabric.config, v4, v6)
	m.log.Info("underlay chosen", "interface", u.Name, "mtu", u.MTU, "public_ip", v4, "public_ipv6", v6)
	c := m.fabric.config
	m.progress.update(func(s *admin.State) {
		s.Host = admin.Host{Interface: u.Name, MTU: u.MTU, PublicIP: v4, PublicIPv6: v6}
		s.Network.IPv4, s.Network.IPv6, s.Network.BackendType = c.Network, c.IPv6Network, c.BackendType
	})
	return m.claims.takeAddress(u, m.fabric.port(m.options))
}

// move takes a changed underlay into account, and tells peers where this host is now.
func (m *member) move() error {
	if err := m.settle(); err != nil {
		return err
	}
	m.untold = true
	return m.tell()
}

// tell has the lease say what peers should know, if that may be something else by now.
func (m *member) tell() error {
	if !m.untold {
		return nil
	}
	attrs, err := m.fabric.attrs(m.options)
	if err != nil {
		return err
	}
	m.untold = false
	m.keeper.SetAttrs(attrs)
	return nil
}

func (m *member) close() {
	_ = m.notify.Close()
	_ = m.shut()
}

// Run keeps the lease and carries packets until ctx ends.
func (m *member) Run(ctx context.Context) error {
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return m.follower.Run(running) })
	g.Go(func() error { return m.keeper.Run(running) })
	g.Go(func() error { return m.copier.Run(running) })
	g.Go(func() error { return m.carry(running) })
	g.Go(func() error { return m.serve(running) })
	err := g.Wait()
	if m.options.ReleaseOnExit && ctx.Err() != nil {
		m.release()
	}
	return err
}

// run has a lineage of forwarders run, until it ends or the member does. They outlive sessions.
func (m *member) run(l *lineage) { m.lineages <- l }

// carry runs them. One that fails ends the session that it carries packets for.
func (m *member) carry(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case l := <-m.lineages:
				g.Go(func() error {
					err := l.Run(ctx)
					if s := m.session.Load(); err != nil && s != nil {
						s.end(err)
					}
					return nil
				})
			}
		}
	})
	return g.Wait()
}

// releaseTimeout bounds --release-on-exit: SIGTERM ends an agent within a second, store or no store.
const releaseTimeout = 700 * time.Millisecond

// release gives the lease back at the end.
func (m *member) release() {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	if err := m.keeper.Release(ctx); err != nil {
		m.log.Warn("lease not released; it expires by itself", "err", err)
		return
	}
	m.log.Info("lease released")
}
