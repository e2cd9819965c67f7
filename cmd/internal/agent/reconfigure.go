package agent

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	"weft/lease"
)

// A verdict is what a member makes of the network config that came with a snapshot.
type verdict struct {
	config  lease.Config // to follow: the snapshot's or, where that is refused, the one in force
	refused string       // why the store's config isn't followed, and what to do; empty if it is
	note    string       // what a person should know of a config that is followed
}

// weigh decides whether this host, with its lease, can follow the config that came with a snapshot.
// What can't be followed changes nothing here: a typing error in one document must not take every
// host off the network.
func (m *member) weigh(s *lease.Snapshot, own lease.Subnets) verdict {
	stay := verdict{config: m.fabric.config}
	switch set := "weft config set" + m.where.flags() + " FILE"; {
	case errors.Is(s.ConfigErr, lease.ErrNoConfig):
		stay.refused = "the network config was deleted from the store; the one before it stays in force here: write it back with: " + set
	case s.ConfigErr != nil:
		stay.refused = fmt.Sprintf("%v; the network config before it stays in force here: correct it with: %s", s.ConfigErr, set)
	case bytes.Equal(s.Config.Raw, m.failed.raw):
		stay.refused = fmt.Sprintf("the new network config can't be followed: %v; the one before it stays in force here: "+
			"remove the cause and restart this agent, or write another with: %s", m.failed.err, set)
	case m.options.follows(s.Config) != nil:
		stay.refused = fmt.Sprintf("the new network config can't be followed: %v; the one before it stays in force here: "+
			"correct it with: %s", m.options.follows(s.Config), set)
	case !fits(s.Config, own):
		stay.refused = fmt.Sprintf("the new network config has no room for this host's lease %s: it is for %s; the one before it stays in force "+
			"here: write that back with: %s, or restart the agents one after the other, each of which then takes a new subnet",
			own, ranges(s.Config), set)
	default:
		v := verdict{config: s.Config}
		if !s.Config.Fits(own) {
			v.note = fmt.Sprintf("the network config hands out other subnets by now; this host's %s is kept until its agent starts anew", own)
		}
		return v
	}
	return stay
}

// ranges names what a config hands out.
func ranges(c lease.Config) string {
	switch {
	case !c.EnableIPv6:
		return c.Network.String()
	case !c.EnableIPv4:
		return c.IPv6Network.String()
	default:
		return c.Network.String() + " and " + c.IPv6Network.String()
	}
}

// A footing is everything in a network config that a session stands on; what is not in it only
// matters for leases to come, or is read with every snapshot. Sessions whose footings are equal are
// one session.
type footing struct {
	backendType       string
	options           lease.Options // as they work out on this host
	beside            lease.Format  // what peers speak besides, while the network migrates
	network, network6 netip.Prefix
}

func (f fabric) footing(o Options) footing {
	options := f.config.Options
	options.Port, options.MTU = f.port(o), f.mtu()
	return footing{f.config.BackendType, options, f.config.Beside, f.config.Network, f.config.IPv6Network}
}

// A failure is a config that was tried, and why it didn't work.
type failure struct {
	raw []byte
	err error
}

// heed takes in the config that came with a snapshot, and returns the one in force from here on. It
// is called by the session's follower alone, while serve waits for the session. The error ends the
// session: it stands on something that has changed.
func (s *session) heed(snapshot *lease.Snapshot) (lease.Config, error) {
	v := s.weigh(snapshot, s.fabric.own.Subnets())
	if s.seed != nil && snapshot != s.seed {
		// A start with the store there would have taken what the store has, and nobody wants two kinds
		// of restarts.
		if snapshot.ConfigErr == nil && s.options.follows(snapshot.Config) == nil && !fits(snapshot.Config, s.fabric.own.Subnets()) {
			return lease.Config{}, errOutgrown
		}
		s.seed = nil
	}
	s.progress.config(v.refused, v.note)
	next := s.fabric
	next.config = v.config
	if next.footing(s.options) != s.fabric.footing(s.options) {
		return lease.Config{}, errReconfigured
	}
	s.member.fabric.config = v.config
	return v.config, nil
}

// agree finds the config for a session under a lease that this host has got: the store's, where that
// can be followed, or the one in force. A lease that fits neither came with a config that isn't here
// yet, which is waited for.
func (m *member) agree(own lease.Subnets) (settled bool, err error) {
	if s, version := m.follower.Snapshots().Latest(); version > 0 {
		v := m.weigh(s, own)
		m.progress.config(v.refused, v.note)
		if !bytes.Equal(v.config.Raw, m.fabric.config.Raw) {
			if err := m.take(v.config, own); err != nil {
				return false, err
			}
		}
	}
	if fits(m.fabric.config, own) {
		return true, nil
	}
	m.progress.waiting(fmt.Sprintf("a network config that has room for lease %s", own))
	return false, nil
}

// take makes a config the one in force, as far as that goes before a session opens under it. The one
// before is kept for rollBack.
func (m *member) take(c lease.Config, own lease.Subnets) error {
	before := m.fabric
	m.fabric.config = c
	if err := m.settle(); err != nil {
		if !m.worked || !fits(before.config, own) {
			return err
		}
		m.fabric = before
		m.fail(c.Raw, err)
		return nil
	}
	m.untold = true // told once a session has opened: peers would send to where nobody listens yet
	if m.fallback = nil; m.worked && fits(before.config, own) {
		m.fallback = &before
	}
	m.log.Info("network config followed", "network", ranges(c), "backend_type", c.BackendType)
	return nil
}

// rollBack returns to the config before, after a session couldn't be opened under the new one.
func (m *member) rollBack(err error) error {
	failed := m.fabric.config.Raw
	m.fabric, m.fallback = *m.fallback, nil
	m.fail(failed, err)
	return m.move()
}

func (m *member) fail(raw []byte, err error) {
	m.failed = failure{raw, err}
	m.log.Error("the new network config can't be followed; going back to the one before", "err", err)
}
