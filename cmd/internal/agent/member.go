package agent

import (
	"context"
	"errors"
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
// carries packets for as long as it has one.
type member struct {
	options  Options
	log      *slog.Logger
	progress *progress
	kernel   *kernelmode.Netlink
	store    lease.Store
	claims   *claims
	fabric   fabric

	follower *lease.Follower
	keeper   *lease.Keeper
	notify   *sdnotify.Notifier // nil where systemd didn't start the agent; its methods take that

	session atomic.Pointer[session] // nil while there is no lease
	worked  bool                    // a session has opened everything it needs; serve's alone
}

// enroll chooses the underlay, claims this host's address on it, and makes the parts of a member.
func (a *Agent) enroll(store lease.Store, config lease.Config) (*member, error) {
	kernel, err := kernelmode.Open()
	if err != nil {
		return nil, err
	}
	m := &member{
		options: a.options, log: a.log, progress: &a.progress, kernel: kernel, store: store,
		claims: &a.claims, fabric: fabric{config: config},
	}
	if err := m.settle(); err != nil {
		_ = kernel.Close()
		return nil, err
	}
	attrs, err := m.fabric.attrs(a.options)
	if err != nil {
		_ = kernel.Close()
		return nil, err
	}
	before := previous(a.options.SubnetFile, func(err error) { a.log.Warn("earlier subnet not known", "err", err) })
	m.follower = lease.NewFollower(store, a.log)
	m.keeper = lease.NewKeeper(lease.KeeperOptions{
		Store:     store,
		Request:   lease.Request{Attrs: attrs, Previous: before.V4, Previous6: before.V6},
		Margin:    a.options.RenewMargin,
		Snapshots: m.follower.Snapshots(),
		Log:       a.log,
	})
	if m.notify, err = sdnotify.New(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("systemd won't learn when packets flow", "err", err)
	}
	return m, nil
}

// settle chooses the underlay interface and claims the address that peers will know this host by.
func (m *member) settle() error {
	selection, err := m.options.Interface.selection(m.fabric.config)
	if err != nil {
		return err
	}
	u, err := kernelmode.SelectInterface(m.kernel, selection)
	if err != nil && selection.IPv4 != selection.IPv6 {
		// A network of one family can be carried over an underlay of the other.
		selection.IPv4, selection.IPv6 = selection.IPv6, selection.IPv4
		if other, otherErr := kernelmode.SelectInterface(m.kernel, selection); otherErr == nil {
			u, err = other, nil
		}
	}
	if err != nil {
		return err
	}
	m.fabric.underlay = u
	v4, v6 := m.fabric.outer()
	m.log.Info("underlay chosen", "interface", u.Name, "mtu", u.MTU, "public_ip", v4, "public_ipv6", v6)
	m.progress.update(func(s *admin.State) {
		s.Host = admin.Host{Interface: u.Name, MTU: u.MTU, PublicIP: v4, PublicIPv6: v6}
	})
	return m.claims.takeAddress(u, m.fabric.port(m.options))
}

// move takes the changed underlay into account, and tells peers where this host is now.
func (m *member) move() error {
	if err := m.settle(); err != nil {
		return err
	}
	attrs, err := m.fabric.attrs(m.options)
	if err != nil {
		return err
	}
	m.keeper.SetAttrs(attrs)
	return nil
}

func (m *member) close() {
	_ = m.notify.Close()
	_ = m.kernel.Close()
}

// Run keeps the lease and carries packets until ctx ends.
func (m *member) Run(ctx context.Context) error {
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return m.follower.Run(running) })
	g.Go(func() error { return m.keeper.Run(running) })
	g.Go(func() error { return m.serve(running) })
	err := g.Wait()
	if m.options.ReleaseOnExit && ctx.Err() != nil {
		m.release()
	}
	return err
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

// serve runs one session after the other: as long as the lease is the same, packets flow.
func (m *member) serve(ctx context.Context) error {
	quick := 0 // sessions in a row that ended as soon as they had begun
	for version := uint64(0); ; {
		tenure, seen, err := m.tenure(ctx, version)
		if err != nil {
			return err
		}
		version = seen
		began := time.Now()
		err = m.one(ctx, tenure.Lease, version)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errTenureOver):
			m.log.Warn("forwarding stopped: the lease is gone", "subnet", tenure.Lease.Subnets())
		case errors.Is(err, errMoved):
			version = 0
			if err := m.move(); err != nil {
				return err
			}
		case !m.worked:
			return err // better seen at once than tried for ever
		default:
			m.log.Error("forwarding failed; starting it again", "err", err)
			version = 0 // the tenure is still the one to serve
			// A device that somebody deleted must be back within a second; what fails again and again
			// must not fill the log.
			if quick++; time.Since(began) > retryEvery {
				quick = 0
			}
			if quick > 1 {
				m.progress.waiting(err.Error())
				pause(ctx, retryEvery)
			}
		}
	}
}

// tenure waits until the keeper holds a lease, and says meanwhile why there is none.
func (m *member) tenure(ctx context.Context, version uint64) (lease.Tenure, uint64, error) {
	for {
		t, seen, err := m.keeper.Tenures().Next(ctx, version)
		if err != nil {
			return t, seen, err
		}
		if t.Held {
			m.progress.waiting("")
			return t, seen, nil
		}
		m.progress.waiting("a lease: " + t.Err.Error())
		version = seen
	}
}
