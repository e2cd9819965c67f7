package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mdlayher/sdnotify"
	"golang.org/x/sync/errgroup"

	"weft/cmd/internal/admin"
	"weft/cmd/internal/footprint"
	"weft/kernelmode"
	"weft/kernelmode/express"
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
	version    uint64                   // of the tenure it serves
	datapath   atomic.Pointer[datapath] // the follower changes it
	chosen     atomic.Pointer[choice]   // along with it
	wishes     chan wish                // for another datapath
	reviews    chan struct{}            // one slot: auto may choose otherwise by now
	arranged   chan struct{}            // closed once the lane is as the choice wants it
	over       chan struct{}            // closed at the end
	reconciler *kernelmode.Reconciler   // nil where the datapath needs nothing of the kernel
	trouble    chan error               // one slot: what ends the session

	// The follower's, once that runs.
	plan     kernelmode.State // what the reconciler wants
	snapshot *lease.Snapshot  // the latest, under the config in force
	settler  footprint.Settler

	reviewed bool // a choice that was made anew failed: it would fail again at every change of the leases
}

// current is the datapath that packets go through.
func (s *session) current() datapath { return *s.datapath.Load() }

// replace has another be the one that packets go through.
func (s *session) replace(d datapath) { s.datapath.Store(&d) }

// one runs a session from opening the datapath to closing it. The error says why it ended.
func (m *member) one(ctx context.Context, own lease.Lease, version uint64) (err error) {
	s := &session{
		member: m, fabric: m.fabric, version: version, trouble: make(chan error, 1),
		wishes: make(chan wish), reviews: make(chan struct{}, 1), arranged: make(chan struct{}), over: make(chan struct{}),
	}
	s.fabric.own = own
	if err := s.open(ctx); err != nil {
		return err
	}
	m.worked, m.fallback = true, nil
	tasks := s.tasks() // before others see the session, and ask its reconciler
	m.session.Store(s)
	defer func() {
		m.progress.ready(false)
		m.session.Store(nil)
		close(s.over)
		s.leave(errors.Is(err, errReconfigured), ctx.Err() != nil)
	}()
	if err := m.tell(); err != nil {
		return err
	}
	g, running := errgroup.WithContext(ctx)
	for _, t := range tasks {
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
	chosen, err := choose(s.fabric.config, s.options, s.fabric.others(snapshot), s.try)
	if err != nil {
		return err
	}
	chosen = s.meanwhile(chosen)
	s.chosen.Store(&chosen)
	level := slog.LevelInfo
	if chosen.denied != nil {
		level = slog.LevelWarn
	}
	s.log.Log(ctx, level, "datapath chosen", "kind", chosen.kind, "why", chosen.why, "better", chosen.better)
	for _, note := range unheard(s.fabric.config, chosen.kind) {
		s.log.Warn("the datapath can't do all that the network config says", "what", note)
	}
	if chosen.kind == byLane {
		if err := express.Prepare(s.fabric.underlay.Name); err != nil {
			s.log.Warn("the underlay isn't prepared for the lane", "err", err) // laying it says why it can't be had
		}
	}
	d, err := s.openDatapath(chosen, snapshot)
	if err != nil {
		return err
	}
	s.replace(d)
	if err := s.lay(snapshot); err != nil {
		d.close()
		return err
	}
	return nil
}

// lay has the kernel and subnet.env as the datapath needs them.
func (s *session) lay(snapshot *lease.Snapshot) error {
	d := s.current()
	if _, err := d.follow(snapshot); err != nil {
		return err
	}
	s.snapshot, s.plan = snapshot, d.plan()
	if len(s.plan.Objects()) > 0 {
		installed, err := kernelmode.Apply(s.kernel, s.plan)
		if err := s.serious(s.plan, installed, err); err != nil {
			return err
		}
	}
	return lease.WriteSubnetEnv(s.options.SubnetFile, s.fabric.env())
}

// judged waits for a snapshot, and returns it under the config in force.
func (s *session) judged(ctx context.Context) (*lease.Snapshot, error) {
	snapshot, _, err := s.follower.Snapshots().Next(ctx, 0)
	if err != nil {
		return nil, err
	}
	return snapshot.Under(s.fabric.config), nil
}

// serious tells what makes a datapath none, a device of its own that isn't as it should be, from what is
// for the reconciler to try again: that some peer can't be reached.
func (s *session) serious(want, installed kernelmode.State, err error) error {
	if err == nil {
		return nil
	}
	for _, l := range want.Links {
		there := slices.ContainsFunc(installed.Links, func(i kernelmode.Link) bool { return i.Name == l.Name && i.Up == l.Up && i.MTU == l.MTU })
		if !there || l.Kind == kernelmode.LinkTUN {
			return fmt.Errorf("setting up device %s: %w", l.Name, err)
		}
	}
	s.log.Warn("not all of the datapath is in place", "err", err)
	return nil
}

func (s *session) tasks() []func(context.Context) error {
	tasks := []func(context.Context) error{s.follow, s.guard, s.review, s.tend, s.prove}
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

// follow turns every snapshot into routes and kernel state, and switches datapaths in between. The first
// snapshot makes the session ready: before it there is nowhere to send to.
func (s *session) follow(ctx context.Context) error {
	var arrange sync.Once
	for version := uint64(0); ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case w := <-s.wishes:
			s.grant(ctx, w)
		case why := <-s.laneLost():
			s.giveUpLane(why)
		case <-s.follower.Snapshots().Changed(version):
			snapshot, seen := s.follower.Snapshots().Latest()
			version = seen
			if err := s.apply(snapshot); err != nil {
				s.prepareHeritage(ctx, snapshot, err)
				return err
			}
			arrange.Do(s.arrange)
			if s.due() {
				select {
				case s.reviews <- struct{}{}:
				default: // it is under way
				}
			}
		}
	}
}

// apply follows one snapshot.
func (s *session) apply(snapshot *lease.Snapshot) error {
	config, err := s.heed(snapshot)
	if err != nil {
		return err
	}
	judged := snapshot.Under(config)
	changed, err := s.current().follow(judged)
	if err != nil {
		return err
	}
	s.snapshot = judged
	if plan := s.current().plan(); s.reconciler != nil && !reflect.DeepEqual(plan, s.plan) {
		s.want(plan)
	}
	s.follower.Applied(snapshot.Revision)
	if changed > 0 {
		s.log.Info("routes changed", "revision", snapshot.Revision, "changes", changed)
	}
	if s.seed == nil { // the copy is no news to itself
		s.inForce.Put(judged)
	}
	s.report(judged)
	s.settler.Saw(len(judged.Leases))
	return nil
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
