package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"weft/lease"
	"weft/lease/etcd"
)

// A walk goes from where the network is to one end of its migration, a step at a time. It remembers
// nothing: each step is found anew in config and leases, so that it makes no difference who went the
// ones before, or whether this walk is broken off.
type walk struct {
	migrateOptions
	store *etcd.Store
	out   io.Writer
	ask   func(context.Context, string) (answer, error) // nil: nobody to ask
	key   string                                        // of the config, for people
	peers *witness                                      // asks peers through the fabric; nil: there is no agent here
}

// stepPatience is how long a step may take until every host has heard of it and said so. Hosts hear within a
// second; the rest is for one whose agent is just starting. Tests shorten it.
var stepPatience = 30 * time.Second

func (w *walk) run(ctx context.Context) error {
	m, err := w.look(ctx)
	if err != nil {
		return err
	}
	if w.status {
		return m.table(w.out)
	}
	w.peers = w.call(ctx)
	for {
		s, err := w.step(m)
		if err != nil {
			return err
		}
		if s == nil {
			return w.say("%s", m.summary())
		}
		if agreed, err := w.agreed(ctx, s); err != nil || !agreed {
			return err
		}
		if m, err = w.take(ctx, m, s); err != nil {
			return err
		}
		if w.host.IsValid() && s.host.IsValid() {
			return nil
		}
	}
}

// look reads where the network is.
func (w *walk) look(ctx context.Context) (migration, error) {
	raw, revision, err := w.store.ConfigRaw(ctx)
	if err != nil {
		return migration{}, err
	}
	config, err := lease.ParseConfig(raw)
	if err != nil {
		return migration{}, fmt.Errorf("key %s: %w", w.key, err)
	}
	listing, err := w.store.Look(ctx)
	if err != nil {
		return migration{}, err
	}
	return w.see(config, revision, listing.Snapshot.Leases)
}

// see leaves out the hosts that the operator says aren't there.
func (w *walk) see(config lease.Config, revision int64, leases []lease.Lease) (migration, error) {
	m, err := migrationOf(config, revision, leases, w.from, w.to)
	m.hosts = slices.DeleteFunc(m.hosts, func(h migrant) bool { return slices.Contains(w.without, h.addr) })
	return m, err
}

// step finds what is next in the operator's direction; nil: nothing.
func (w *walk) step(m migration) (*migrationStep, error) {
	if w.host.IsValid() && m.under() {
		return w.oneHost(m)
	}
	if w.undo {
		return m.previous()
	}
	if !m.under() && m.config.BackendType == w.from {
		return m.begin([]byte(w.backend))
	}
	// A migration whose preparation was broken off is prepared to its end first.
	if missing := m.unready(); len(missing) > 0 && m.under() {
		return &migrationStep{doing: "waiting until every host takes both formats", done: "every host takes both formats", missing: migration.unready}, nil
	}
	return m.next()
}

// oneHost is the step of --host; nil where that host is on the right side already.
func (w *walk) oneHost(m migration) (*migrationStep, error) {
	h, ok := m.host(w.host)
	switch {
	case !ok:
		return nil, fmt.Errorf("no host with address %s has a lease: weft leases lists them", w.host)
	case w.undo && h.moved:
		return m.moveBack(h)
	case !w.undo && !h.moved:
		if missing := m.unready(); len(missing) > 0 {
			return nil, w.notReady(missing)
		}
		return m.move(h)
	}
	return nil, nil
}

// agreed asks, where there is somebody to ask and something to be asked.
func (w *walk) agreed(ctx context.Context, s *migrationStep) (bool, error) {
	if w.yes || w.host.IsValid() || s.question == "" {
		return true, nil
	}
	a, err := w.ask(ctx, s.question)
	w.yes = a == answerAll
	if a == answerNo && err == nil {
		err = w.say("stopped: the same command goes on from here, with --undo back")
	}
	return a != answerNo, err
}

// take carries a step out, checks it, and returns where the network is then. A host that isn't answered
// any more is moved back.
func (w *walk) take(ctx context.Context, m migration, s *migrationStep) (migration, error) {
	before := w.peers.ask(ctx, m, s.host)
	if s.document != nil {
		err := w.store.ReplaceConfig(ctx, s.document, m.revision)
		if errors.Is(err, etcd.ErrChanged) {
			return migration{}, fmt.Errorf("the network config has changed meanwhile, by somebody else's hand: nothing was written; look at it, and start again")
		}
		if err != nil {
			return migration{}, err
		}
	}
	if err := w.say("%s", s.doing); err != nil {
		return migration{}, err
	}
	now, err := w.await(ctx, s.missing)
	if err != nil {
		return migration{}, err
	}
	if lost := w.peers.missed(ctx, before); lost != "" {
		return migration{}, w.takeBack(ctx, now, s, lost)
	}
	return now, w.say("  %s%s", s.done, before.note())
}

// takeBack undoes the step of one host.
func (w *walk) takeBack(ctx context.Context, m migration, s *migrationStep, lost string) error {
	h, ok := m.host(s.host)
	back, err := m.moveBack(h)
	if !h.moved {
		back, err = m.move(h)
	}
	if ok && err == nil {
		err = w.store.ReplaceConfig(ctx, back.document, m.revision)
	}
	if err == nil {
		_, err = w.await(ctx, back.missing)
	}
	if err != nil {
		return fmt.Errorf("%s, and it couldn't be moved back: %w", lost, err)
	}
	return fmt.Errorf("%s: %s; see weft status and the agent's log there, and try again", lost, back.done)
}

// await waits until nothing is missing.
func (w *walk) await(ctx context.Context, missing func(migration) []string) (now migration, err error) {
	limited, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	var left []string
	for {
		if now, err = w.look(limited); err == nil {
			if left = missing(now); len(left) == 0 {
				return now, nil
			}
		}
		select {
		case <-limited.Done():
			switch {
			case ctx.Err() != nil:
				return now, fmt.Errorf("broken off: the same command goes on from here, with --undo back")
			case err != nil:
				return now, err
			}
			return now, w.notReady(left)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// notReady says who holds a step up, and what to do.
func (w *walk) notReady(left []string) error {
	return fmt.Errorf("after %v there still is %s: a plain flannel host, an agent of an older version or with --datapath kernel, or one that doesn't run. "+
		"Upgrade or start it, give --without ADDRESS if it isn't there any more, and run the same command again; or go back with --undo", stepPatience, few(left))
}

func (w *walk) say(format string, args ...any) error {
	_, err := fmt.Fprintf(w.out, format+"\n", args...)
	return err
}
