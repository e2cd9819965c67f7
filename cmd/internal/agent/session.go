package agent

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/mdlayher/sdnotify"
	"golang.org/x/sync/errgroup"

	"weft/cmd/internal/admin"
	"weft/kernelmode"
	"weft/lease"
)

// Why a session ended although nobody asked the agent to end.
var (
	errTenureOver = errors.New("the lease is no longer this host's")
	errDeviceGone = errors.New("the device was deleted")
	errMoved      = errors.New("the underlay changed")

	errReconfigured = errors.New("the network config changed")
	errFormats      = errors.New("peers of another backend type came")
)

// A session carries packets under one lease and one config, on one underlay, through one datapath.
// Whatever of these changes ends it, and the next one is made from the new state.
type session struct {
	*member
	fabric     fabric
	version    uint64 // of the tenure it serves
	datapath   datapath
	reconciler *kernelmode.Reconciler // nil where the datapath needs nothing of the kernel
	plan       kernelmode.State       // what the reconciler wants; follow's, once that runs
	trouble    chan error             // one slot: what ends the session
}

// one runs a session from opening the datapath to closing it. The error says why it ended.
func (m *member) one(ctx context.Context, own lease.Lease, version uint64) error {
	s := &session{member: m, fabric: m.fabric, version: version, trouble: make(chan error, 1)}
	s.fabric.own = own
	if err := s.open(ctx); err != nil {
		return err
	}
	m.worked, m.fallback = true, nil
	m.session.Store(s)
	defer func() {
		m.progress.ready(false)
		m.session.Store(nil)
		s.datapath.close()
	}()
	g, running := errgroup.WithContext(ctx)
	for _, t := range s.tasks() {
		g.Go(func() error { return t(running) })
	}
	return g.Wait()
}

// open lays the ground for packets, subnet.env last: whoever reads it finds everything there. It begins
// with a snapshot, since before there is one nobody could be sent to, and what an earlier run left in
// the kernel for its peers must not go before that.
func (s *session) open(ctx context.Context) error {
	snapshot, err := s.judged(ctx)
	if err != nil {
		return err
	}
	chosen, err := choose(s.fabric.config, s.options, s.fabric.others(snapshot), s.kernel.Probe)
	if err != nil {
		return err
	}
	s.log.Info("datapath chosen", "kind", chosen.kind, "why", chosen.why, "better", chosen.better)
	for _, note := range unheard(s.fabric.config, chosen.kind) {
		s.log.Warn("the datapath can't do all that the network config says", "what", note)
	}
	if s.datapath, err = s.openDatapath(chosen, snapshot); err != nil {
		return err
	}
	if _, err := s.datapath.follow(snapshot); err != nil {
		s.datapath.close()
		return err
	}
	s.plan = s.datapath.plan()
	if len(s.plan.Objects()) > 0 {
		if err := s.apply(chosen); err != nil {
			s.datapath.close()
			return err
		}
	}
	if err := lease.WriteSubnetEnv(s.options.SubnetFile, s.fabric.env()); err != nil {
		s.datapath.close()
		return err
	}
	return nil
}

// judged waits for a snapshot, and returns it under the config in force.
func (s *session) judged(ctx context.Context) (*lease.Snapshot, error) {
	snapshot, _, err := s.follower.Snapshots().Next(ctx, 0)
	if err != nil {
		return nil, err
	}
	return snapshot.Under(s.fabric.config), nil
}

// apply has the kernel at the plan before the first packet. That some peer can't be reached is for the
// reconciler to try again; a datapath whose own device isn't there is none.
func (s *session) apply(c choice) error {
	installed, err := kernelmode.Apply(s.kernel, s.plan)
	if err == nil {
		return nil
	}
	if c.kind == inKernel && len(installed.Links) == len(s.plan.Links) {
		s.log.Warn("not all of the kernel's datapath is in place", "err", err)
		return nil
	}
	what := s.options.TUNName
	if c.kind == inKernel {
		what = fmt.Sprint(s.fabric.devices())
	}
	return fmt.Errorf("setting up device %s: %w", what, err)
}

func (s *session) tasks() []func(context.Context) error {
	tasks := []func(context.Context) error{s.follow, s.guard, s.datapath.Run}
	if len(s.plan.Objects()) == 0 {
		return tasks
	}
	s.reconciler = kernelmode.NewReconciler(s.kernel, kernelmode.ReconcilerOptions{
		Log:       s.log,
		OnMissing: func(string) { s.end(errDeviceGone) },
	})
	s.reconciler.Want(s.plan)
	return append(tasks, s.reconciler.Run, s.watchUnderlay)
}

// end makes the session end with err; only the first reason counts.
func (s *session) end(err error) {
	select {
	case s.trouble <- err:
	default:
	}
}

// guard ends the session when something says so, or when its lease is no longer what the keeper holds.
func (s *session) guard(ctx context.Context) error {
	version := s.version
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-s.trouble:
			return err
		case <-s.keeper.Tenures().Changed(version):
			t, seen := s.keeper.Tenures().Latest()
			version = seen
			if !t.Held || t.Lease.Subnets() != s.fabric.own.Subnets() {
				return errTenureOver
			}
		}
	}
}

// follow turns every snapshot into routes and kernel state. The first one makes the session ready:
// before it there is nowhere to send to.
func (s *session) follow(ctx context.Context) error {
	for version := uint64(0); ; {
		snapshot, seen, err := s.follower.Snapshots().Next(ctx, version)
		if err != nil {
			return err
		}
		version = seen
		config, err := s.heed(snapshot)
		if err != nil {
			return err
		}
		judged := snapshot.Under(config)
		changed, err := s.datapath.follow(judged)
		if err != nil {
			return err
		}
		if plan := s.datapath.plan(); s.reconciler != nil && !reflect.DeepEqual(plan, s.plan) {
			s.plan = plan
			s.reconciler.Want(plan)
		}
		s.follower.Applied(snapshot.Revision)
		if changed > 0 {
			s.log.Info("routes changed", "revision", snapshot.Revision, "changes", changed)
		}
		if s.seed == nil { // the copy is no news to itself
			s.inForce.Put(judged)
		}
		s.report(judged)
	}
}

// report tells what a snapshot means for people.
func (s *session) report(snapshot *lease.Snapshot) {
	problems := make([]admin.Problem, len(snapshot.Problems))
	for i, p := range snapshot.Problems {
		problems[i] = admin.Problem{Key: p.Key, Reason: p.Reason, Detail: p.Detail}
	}
	s.progress.update(func(state *admin.State) { state.Problems = problems })
	if s.progress.ready(true) {
		s.log.Info("packets can flow", "subnet", s.fabric.own.Subnets(), "mtu", s.fabric.mtu())
		if err := s.notify.Notify(sdnotify.Ready, sdnotify.Statusf("subnet %s", s.fabric.own.Subnets())); err != nil {
			s.log.Warn("telling systemd that packets can flow", "err", err)
		}
	}
}

// watchUnderlay ends the session when the interface's address or MTU becomes another. While the
// interface is away the session stays: nothing can be sent, and nothing has to be undone.
func (s *session) watchUnderlay(ctx context.Context) error {
	selection, err := s.options.Interface.selection(s.fabric.config)
	if err != nil {
		return err
	}
	known := s.fabric.underlay
	return kernelmode.WatchUnderlay(ctx, s.kernel, selection.Follow(known), known, func(now kernelmode.Underlay, err error) {
		switch {
		case err != nil:
			s.log.Warn("underlay is away", "interface", known.Name, "err", err)
		case now == known:
			s.log.Info("underlay is back", "interface", known.Name)
		default:
			s.log.Warn("underlay changed", "interface", now.Name, "mtu", now.MTU, "public_ip", now.PublicIP)
			s.end(errMoved)
		}
	})
}
