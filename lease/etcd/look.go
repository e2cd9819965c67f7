package etcd

import (
	"context"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A list of n records, asked for by n hosts that start together, is n² records: at 5,000 hosts 25
// million, some 4 GB. etcd sends as much in a minute or so, and does nothing else meanwhile. So in a
// network of so many records a host looks first, which costs an answer of some hundred bytes.
const largeNetwork = 500

// A look is what one small request tells of a network.
type look struct {
	revision int64
	count    int64            // keys below the prefix
	config   *mvccpb.KeyValue // nil where there is none
	record   *mvccpb.KeyValue // the one that was asked for; nil where there is none
}

// look reads the network's size, its config and one record, at one revision. Without a key there is no
// record.
func (s *Store) look(ctx context.Context, c *clientv3.Client, key string) (look, error) {
	limited, cancel := s.request(ctx)
	defer cancel()
	gets := []clientv3.Op{
		clientv3.OpGet(s.keys.root(), clientv3.WithPrefix(), clientv3.WithCountOnly()),
		clientv3.OpGet(s.keys.config()),
	}
	if key != "" {
		gets = append(gets, clientv3.OpGet(key))
	}
	resp, err := c.Txn(limited).Then(gets...).Commit()
	if err != nil {
		return look{}, err
	}
	l := look{revision: resp.Header.Revision, count: resp.Responses[0].GetResponseRange().Count}
	s.size.Store(l.count)
	for i, into := range []**mvccpb.KeyValue{&l.config, &l.record} {
		if i+1 < len(resp.Responses) {
			if kvs := resp.Responses[i+1].GetResponseRange().Kvs; len(kvs) > 0 {
				*into = kvs[0]
			}
		}
	}
	return l, nil
}

// begin returns a state to watch from: what this host's acquisition has listed, where there is one. In a
// large network others wait for a moment of their own before they list: half a second at 5,000 records,
// in the middle. An agent forwards by its copy on disk meanwhile.
func (s *Store) begin(ctx context.Context) (*state, error) {
	if err := s.awaitAcquired(ctx); err != nil {
		return nil, s.explain(ctx, "watching leases", err)
	}
	if st := s.takeListed(); st != nil && s.size.Load() >= s.large {
		return st, nil // a moment old: the watch brings what has come since
	}
	client, err := s.connect(ctx)
	if err != nil {
		return nil, s.explain(ctx, "watching leases", err)
	}
	now, err := s.look(ctx, client, "")
	if err == nil && now.count >= s.large {
		err = s.calm(ctx, client, now.revision, time.Duration(now.count)*spreadPerKey)
	}
	if err != nil {
		return nil, s.explain(ctx, "watching leases", err)
	}
	return s.load(ctx)
}

// settle waits before the watch is opened until few change. etcd sends each change to each open watch in
// a message of its own, so that n hosts that start together would be sent n² messages, and their own
// requests would starve behind them. A watch that is opened later is sent all since in a few. missed is
// how many changes have come since the state. The error is errCompacted where the store has gone back
// behind the state.
func (s *Store) settle(ctx context.Context, st *state, missed int64) error {
	if s.isAcquiring() {
		err := s.awaitAcquired(ctx)
		if err == nil {
			missed, err = s.missed(ctx, st)
		}
		if err != nil {
			return err
		}
	}
	if missed < 0 {
		return errCompacted
	}
	if missed < bustle {
		return nil
	}
	client, err := s.connect(ctx)
	if err != nil {
		return err
	}
	return s.calm(ctx, client, st.revision+missed, min(longestFirst, time.Duration(missed)*waitPerChange))
}

// missed asks how many changes have come since the state; below zero where the store has gone back.
func (s *Store) missed(ctx context.Context, st *state) (int64, error) {
	client, err := s.connect(ctx)
	if err != nil {
		return 0, err
	}
	now, err := s.look(ctx, client, "")
	return now.revision - st.revision, err
}

// Waits for calm.
const (
	spreadPerKey  = 200 * time.Microsecond
	waitPerChange = 2 * time.Millisecond
	longestFirst  = 2 * time.Second
	longestWait   = 8 * time.Second
	mostWaits     = 8
	bustle        = 100 // changes missed that make a look at how it goes on worth while
	calmRate      = 10  // changes/s that are no storm: those of rolling restarts
)

// calm waits until few changes come between two looks. The first wait is at most so long, and each next
// one twice that; all are drawn, so that hosts that start together go on apart. A store that changes all
// the time isn't waited for longer than a minute.
func (s *Store) calm(ctx context.Context, c *clientv3.Client, revision int64, wait time.Duration) error {
	for range mostWaits {
		since := time.Now()
		if err := pause(ctx, wait/4+rand.N(wait*3/4+1)); err != nil {
			return err
		}
		now, err := s.revision(ctx, c)
		if err != nil || float64(now-revision) <= calmRate*time.Since(since).Seconds() {
			return err
		}
		revision, wait = now, min(2*wait, longestWait)
	}
	return nil
}

// revision asks which one the store is at, the cheapest request there is.
func (s *Store) revision(ctx context.Context, c *clientv3.Client) (int64, error) {
	limited, cancel := s.request(ctx)
	defer cancel()
	resp, err := c.Get(limited, s.keys.config(), clientv3.WithKeysOnly())
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

// listedFor is how long a list is worth keeping for the watch that will follow it.
const listedFor = time.Minute

// keepListed leaves what an acquisition has listed to the watch, where a second list would be dear. It
// then begins with what was there a moment ago, and goes on to now.
func (s *Store) keepListed(st *state) {
	if st.count() < s.large && !s.crowded.Load() && s.late.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		s.listed, s.listedAt = st, time.Now()
	}
}

// takeListed returns what was kept, once; nil if there is none, or it is old.
func (s *Store) takeListed() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.listed
	s.listed = nil
	if st == nil || time.Since(s.listedAt) > listedFor {
		return nil
	}
	return st
}

// mostAcquiring is how long a watch waits for the host's own lease at most.
const mostAcquiring = 30 * time.Second

// awaitAcquired waits until no acquisition of this store is under way. The error is the context's.
func (s *Store) awaitAcquired(ctx context.Context) error {
	s.mu.Lock()
	done := s.acquiring
	s.mu.Unlock()
	if done == nil {
		return nil
	}
	limit := time.NewTimer(mostAcquiring)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

func (s *Store) isAcquiring() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acquiring != nil
}

// acquires says that an acquisition is under way, until the function is called that it returns.
func (s *Store) acquires() (done func()) {
	own := make(chan struct{})
	s.mu.Lock()
	s.acquiring = own
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		if s.acquiring == own {
			s.acquiring = nil
		}
		s.mu.Unlock()
		close(own)
	}
}
