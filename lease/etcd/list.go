package etcd

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// pageSize keeps one answer of a list near a hundred kilobytes, and a millisecond of etcd's time: when
// thousands of hosts list at once, what each of them waits for is one page of all the others'.
const pageSize = 500

// list reads everything below the prefix, at one revision however many pages it takes.
func (s *Store) list(ctx context.Context) (*state, error) {
	client, err := s.connect(ctx)
	if err != nil {
		return nil, s.explain(ctx, "listing leases", err)
	}
	st := newState(s.keys)
	st.pool = s.opts.Pool
	from, end := s.keys.root(), clientv3.GetPrefixRangeEnd(s.keys.root())
	for {
		resp, err := s.page(ctx, client, from, end, st.revision)
		if err != nil {
			return nil, s.explain(ctx, "listing leases", err)
		}
		if st.revision == 0 { // the first page; the others are asked for at its revision
			st.revision = resp.Header.Revision
			s.size.Store(resp.Count)
		}
		for _, kv := range resp.Kvs {
			st.put(kv)
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return st, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// slowAnswer is for a page longer than any server takes that has nothing else to do.
const slowAnswer = 250 * time.Millisecond

// page reads one page. Of a list that has come so far, rev is the revision.
func (s *Store) page(ctx context.Context, c *clientv3.Client, from, end string, rev int64) (*clientv3.GetResponse, error) {
	ctx, cancel := s.request(ctx)
	defer cancel()
	asked := time.Now()
	resp, err := c.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(rev))
	if err == nil {
		s.crowded.Store(time.Since(asked) > slowAnswer)
	}
	return resp, err
}

// A listing is a list on its way, for all who want one meanwhile.
type listing struct {
	done chan struct{} // closed when the rest is valid
	st   *state
	err  error
}

// load is list, once for all callers that come while it is on its way: an agent acquires its lease
// and begins to follow at the same moment. What it returns is the caller's own.
func (s *Store) load(ctx context.Context) (*state, error) {
	s.mu.Lock()
	l := s.listing
	if l == nil {
		l = &listing{done: make(chan struct{})}
		s.listing = l
		s.mu.Unlock()
		l.st, l.err = s.list(ctx)
		s.mu.Lock()
		s.listing = nil
		s.mu.Unlock()
		close(l.done)
	} else {
		s.mu.Unlock()
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		return nil, s.explain(ctx, "listing leases", context.Cause(ctx))
	}
	if l.err != nil {
		return s.list(ctx) // perhaps it was only the other's context that ended
	}
	return l.st.clone(), nil
}

// recent returns the state of now. What a watch of this store knows needs only what has come since,
// and costs the server a look at its keys but no copy of every record; without one it is a list.
func (s *Store) recent(ctx context.Context) (*state, error) {
	s.mu.Lock()
	var st *state
	if s.live != nil {
		st = s.live.clone()
	}
	joins := s.listing != nil
	s.mu.Unlock()
	if st == nil {
		st = s.takeListed() // by an acquisition that has just failed
	}
	if joins && st == nil {
		var err error
		if st, err = s.load(ctx); err != nil {
			return nil, err
		}
	}
	if st != nil {
		fresh, err := s.refresh(ctx, st)
		if fresh || err != nil {
			return st, err
		}
	}
	return s.load(ctx)
}

// refresh takes in what has come since the state's revision; false where something has gone, which
// only a list can tell.
func (s *Store) refresh(ctx context.Context, st *state) (bool, error) {
	client, err := s.connect(ctx)
	if err != nil {
		return false, s.explain(ctx, "listing leases", err)
	}
	limited, cancel := s.request(ctx)
	defer cancel()
	resp, err := client.Get(limited, s.keys.root(), clientv3.WithPrefix(), clientv3.WithMinModRev(st.revision+1))
	if err != nil {
		return false, s.explain(ctx, "listing leases", err)
	}
	if resp.Header.Revision < st.revision { // a store that was restored from a backup starts lower
		return false, nil
	}
	for _, kv := range resp.Kvs {
		st.put(kv)
	}
	st.revision = resp.Header.Revision
	// Count is of all keys, those included that didn't change.
	return resp.Count == st.count(), nil
}
