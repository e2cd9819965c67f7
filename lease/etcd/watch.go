package etcd

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
)

// errCompacted: the events that follow our revision are gone, so that only a list helps.
var errCompacted = errors.New("revision compacted")

// batchWindow is the least time between two snapshots. A change that comes alone is yielded at once;
// what follows it in a storm, such as thousands of hosts that start together, is yielded together.
const batchWindow = 50 * time.Millisecond

// Watch lists everything at one revision and then applies events from the next one on, so that
// nothing between is missed and no change costs a list. It yields whole snapshots.
func (s *Store) Watch(ctx context.Context, yield func(*lease.Snapshot)) error {
	for {
		st, err := s.begin(ctx)
		if err != nil {
			return err
		}
		// Asked before the yield, after which nothing but the watch's own failure may go unnoticed.
		missed, err := s.missed(ctx, st)
		yield(st.snapshot())
		if err == nil {
			err = s.settle(ctx, st, missed)
		}
		if err != nil && !errors.Is(err, errCompacted) {
			s.keepListed(st) // for the next Watch
			return s.explain(ctx, "watching leases", err)
		}
		if err == nil {
			err = s.follow(ctx, st, yield)
		}
		if !errors.Is(err, errCompacted) {
			return err
		}
		s.opts.Log.Info("events were compacted away; listing again", "revision", st.revision)
	}
}

// follow applies events to st until the watch fails, and returns why. In a storm of changes it closes
// the watch for a moment at a time.
func (s *Store) follow(ctx context.Context, st *state, yield func(*lease.Snapshot)) error {
	s.setLive(st)
	defer s.setLive(nil)
	var weather storm
	for {
		err := s.stretch(ctx, st, yield, &weather)
		if errors.Is(err, errStorm) {
			err = pause(ctx, weather.pause(len(st.records)))
		}
		if err != nil {
			return s.explain(ctx, "watching leases", err)
		}
	}
}

// stretch watches from the state's revision on, until it fails or a storm comes up.
func (s *Store) stretch(ctx context.Context, st *state, yield func(*lease.Snapshot), weather *storm) error {
	client, err := s.connect(ctx)
	if err != nil {
		return err
	}
	// A member that is cut off from the others must not keep us in the dark: it ends the watch.
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(s.stream(ctx)))
	defer cancel()
	events := client.Watch(watching, s.keys.root(), clientv3.WithPrefix(), clientv3.WithRev(st.revision+1))
	window := time.NewTimer(0)
	defer window.Stop()
	<-window.C
	s.late.Store(0)
	var last time.Time
	opened := time.Now()
	for {
		resp, open := <-events
		changed, err := s.apply(st, resp, open)
		if changed {
			window.Reset(time.Until(last.Add(batchWindow)))
		}
		// What has come meanwhile goes into the same snapshot.
		weather.note(time.Now())
		for waiting := changed; waiting && err == nil && !weather.rages(time.Now()); {
			select {
			case resp, open = <-events:
				_, err = s.apply(st, resp, open)
				weather.note(time.Now())
			case <-window.C:
				waiting = false
			}
		}
		if changed {
			yield(st.snapshot())
			last = time.Now()
		}
		if err != nil {
			return err
		}
		if weather.rages(time.Now()) {
			return errStorm
		}
		if time.Since(opened) > stormWithin {
			weather.over()
		}
	}
}

// setLive says what the watch knows, for acquiring.
func (s *Store) setLive(st *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = st
}

// apply is the state's, safe from who acquires meanwhile.
func (s *Store) apply(st *state, resp clientv3.WatchResponse, open bool) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return st.apply(resp, open)
}

// apply takes in one answer of the watch, and reports whether anything of ours changed.
func (st *state) apply(resp clientv3.WatchResponse, open bool) (changed bool, err error) {
	if !open {
		return false, context.Canceled // explain turns it into ErrUnavailable, or the caller's own
	}
	if resp.CompactRevision != 0 {
		return false, errCompacted
	}
	if err := resp.Err(); err != nil {
		return false, err
	}
	for _, e := range resp.Events {
		ours := false
		if e.Type == clientv3.EventTypeDelete {
			ours = st.drop(string(e.Kv.Key))
		} else {
			ours = st.put(e.Kv)
		}
		if ours {
			changed = true
			// Not the header's revision: that may be ahead of the events delivered so far.
			st.revision = e.Kv.ModRevision
		}
	}
	return changed, nil
}
