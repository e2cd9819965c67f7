package agent

import (
	"context"
	"errors"
	"slices"

	"weft/cmd/internal/selfcheck"
	"weft/kernelmode"
	"weft/lease"
)

// When the network config changes, the userspace datapath isn't closed with its session: the next one
// inherits device, sockets and the running forwarder, and changes what has to change in between two
// batches. Peers follow the config at different moments, so what this host was reached at before stays
// open until the config after this one.

// leave hands the datapath to the next session, if it can be handed on; else it is closed. A lane stays when the
// agent ends, as the kernel's datapath does; not where it gives the lease back too.
func (s *session) leave(inherit, ending bool) {
	u, ok := s.current().(*userPath)
	switch {
	case ok && inherit && !ending && reusable(s.options) && u.alive():
		s.heritage = u
		return
	case ok && ending:
		s.leaveLane(u)
	}
	s.current().close()
}

// leaveLane has a lane, if there is one, stay when the datapath is closed.
func (m *member) leaveLane(u *userPath) {
	if m.options.ReleaseOnExit || !u.front.on() {
		return
	}
	if err := u.front.abandon(); err != nil {
		m.log.Warn("leaving the lane to the kernel", "err", err)
	}
	m.log.Info("the express lane goes on without the agent, until the next one takes it over or `weft cleanup` removes it")
}

// prepareHeritage moves a host's packets from the kernel into user space before a config is followed that
// the kernel's datapath isn't for, so that the next session has something to inherit. Where that fails,
// the next one begins without.
func (s *session) prepareHeritage(ctx context.Context, snapshot *lease.Snapshot, reason error) {
	_, inside := s.current().(*kernelPath)
	if !inside || !errors.Is(reason, errReconfigured) || s.fabric.config.BackendType == typeHostGW {
		return
	}
	to := s.weigh(snapshot, s.fabric.own.Subnets()).config
	next, err := choose(to, s.options, "", s.try)
	if err != nil || next.kind == inKernel {
		return
	}
	next.kind = userspace // what else it is to be is the next session's affair
	if err := s.change(ctx, next, selfcheck.Result{}); err != nil {
		s.log.Warn("packets may be lost while the datapath changes", "why", err)
	}
}

// disinherit closes what nobody took over.
func (m *member) disinherit() {
	if m.heritage != nil {
		m.heritage.close()
		m.heritage = nil
	}
}

// meanwhile has a host that goes on in user space stay there until its peers have followed the config too:
// the kernel's datapath is switched to then, with nothing lost.
func (s *session) meanwhile(c choice) choice {
	if s.heritage == nil || c.kind != inKernel || s.options.Datapath == inKernel || s.fabric.config.BackendType == typeHostGW {
		return c
	}
	kind := userspace
	if s.heritage.front.on() {
		kind = byLane
	}
	return choice{kind: kind, why: "until peers have followed the network config", word: wordMeanwhile,
		better: "the kernel's datapath takes over by itself in a moment"}
}

// succeed makes a datapath for this session out of the one before. An error leaves that as it is.
func (s *session) succeed(old *userPath, snapshot *lease.Snapshot) (*userPath, error) {
	t, err := newTable(s.fabric, s.options)
	if err != nil {
		return nil, err
	}
	u := &userPath{
		table: t, lineage: old.lineage, log: s.log, formats: s.fabric.formats(snapshot),
		queues: old.queues, outlets: old.outlets, sockets: slices.Clone(old.sockets), front: old.front, express: old.express,
	}
	if u.base, err = s.fabric.plan(s.options); err != nil {
		return nil, err
	}
	if _, err := u.table.follow(snapshot); err != nil {
		return nil, err
	}
	if err := u.open(u.formats); err != nil {
		u.closeAllBut(old)
		return nil, err
	}
	// The device can take larger packets before they are sent, and smaller ones after.
	if _, err := kernelmode.Apply(s.kernel, u.base); err != nil {
		u.closeAllBut(old)
		return nil, err
	}
	oldKind, oldPort := old.fabric.config.BackendType, uint16(old.fabric.port(old.options))
	stale := func(one sockets) bool {
		if one.kind == oldKind && one.port == oldPort {
			return false // peers that haven't heard yet send there
		}
		port, own := u.fabric.receives(one.kind, u.options)
		return own && one.port != port || !own && !u.formats.has(one.kind)
	}
	if err := u.closeSockets(stale); err != nil {
		return nil, err
	}
	return u, nil
}

// closeAllBut closes the sockets that another doesn't have.
func (u *userPath) closeAllBut(old *userPath) {
	for _, s := range u.sockets[len(old.sockets):] {
		s.close()
	}
}
