package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"weft/cmd/internal/admin"
	"weft/cmd/internal/probe"
)

// An Agent is one host's membership in the network. Make it with New; Run it once. State may be
// called at any time.
type Agent struct {
	options  Options
	log      *slog.Logger
	progress progress
	claims   claims

	member atomic.Pointer[member] // nil before there is a config and an underlay
}

// New returns an agent that has touched nothing yet. version is what it says about itself.
func New(o Options, log *slog.Logger, version string) *Agent {
	a := &Agent{options: o, log: log}
	a.progress.log = log
	a.progress.state = admin.State{
		Version: version,
		PID:     os.Getpid(),
		Started: time.Now(),
		Peers:   []admin.Peer{},
		Store:   admin.Store{Kind: o.Store.Kind, Endpoints: o.Store.Endpoints},
	}
	return a
}

// A task is a long-lived part: it runs until ctx ends, and then returns nil or the context's error.
type task interface {
	Run(ctx context.Context) error
}

// Run joins the network and carries packets until ctx ends: nil then. Any other end is an error.
//
// Nothing of another agent is touched before this one is known to be the only one here: first the
// device's name is claimed, then the admin socket, then everything else is begun.
func (a *Agent) Run(ctx context.Context) error {
	defer a.claims.release()
	if err := a.claims.take("device " + a.options.TUNName); err != nil {
		return err
	}
	servers, err := a.listen()
	if err != nil {
		return err
	}
	if err := writable(a.options.SubnetFile); err != nil {
		closeAll(servers)
		return err
	}
	a.probe()
	g, running := errgroup.WithContext(ctx)
	for _, s := range servers {
		g.Go(func() error { return s.Run(running) })
	}
	g.Go(func() error { return a.join(running) })
	if err := g.Wait(); ctx.Err() == nil {
		return err
	}
	a.log.Info("agent ended")
	return nil
}

// probe finds out which offloads work here, once. Where it can't be tried (no right to make a network
// namespace, as in many containers) opening and run-time errors have to show it.
func (a *Agent) probe() {
	if a.options.IO == "portable" {
		return
	}
	found, err := probe.Rungs(a.options.Modes)
	if err != nil {
		a.log.Info("offloads not tried before use", "why", err)
		return
	}
	a.options.Modes, a.options.broken = heed(a.options.Modes, found, a.log)
}

// server is a task that holds a listener from the start.
type server interface {
	task
	Close() error
}

func closeAll(servers []server) {
	for _, s := range servers {
		_ = s.Close()
	}
}

// listen takes the admin socket, and the health port if one is asked for.
func (a *Agent) listen() ([]server, error) {
	socket, err := admin.Listen(a.options.AdminSocket, a)
	if err != nil {
		return nil, err
	}
	servers := []server{socket}
	if a.options.HealthzPort != 0 {
		at := netip.AddrPortFrom(a.options.HealthzIP, uint16(a.options.HealthzPort))
		health, err := admin.ListenHealth(at, a, admin.Metrics(a))
		if err != nil {
			closeAll(servers)
			return nil, err
		}
		servers = append(servers, health)
	}
	return servers, nil
}

// join runs the store for as long as a member needs it: the embedded server outlives the member, so
// that --release-on-exit finds it.
func (a *Agent) join(ctx context.Context) error {
	store, err := openStore(a.options.Store, a.options.StateDir, a.log)
	if err != nil {
		return err
	}
	defer store.Close()
	if store.server != nil {
		a.progress.update(func(s *admin.State) { s.Store.Endpoints = store.server.Endpoints() })
	}
	served, stop := context.WithCancel(context.WithoutCancel(ctx))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := store.Run(served); served.Err() == nil {
			return err
		}
		return nil
	})
	g.Go(func() error {
		defer stop()
		return a.enter(ctx, store)
	})
	return g.Wait()
}
