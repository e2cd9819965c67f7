package etcd

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"weft/lease"
)

// A Pool is what the stores of many agents in one process have in common, so that thousands fit into
// one machine: a few connections, records that are decoded once, and snapshots that are made once. An
// agent by itself needs none; `weft bench leases` does. Each store still has its own watch, on a stream
// of its own, its own map of records, and sends all requests that it would send without a pool.
//
// A store whose stream lags is given the newest leases under its own, older revision. All stores of
// a pool must have the same options, and their etcd must not be restored from a backup meanwhile.
// Methods may be called concurrently. Closing a store leaves the connections to the others.
type Pool struct {
	mu      sync.Mutex
	clients []*clientv3.Client // nil where none has been needed so far
	opening []sync.Mutex       // for each client
	stores  int                // how many have been given a place
	closed  bool

	decoded map[string]*record // by key, the newest that any stream has brought

	// The newest snapshot that any store has asked for, and the records that it shows.
	assembler lease.Assembler
	last      *lease.Snapshot
	shown     map[string]*record
	configMod int64
}

// NewPool returns a pool of so many connections, at least one. They are made when they are needed.
func NewPool(connections int) *Pool {
	n := max(1, connections)
	return &Pool{clients: make([]*clientv3.Client, n), opening: make([]sync.Mutex, n),
		decoded: map[string]*record{}, shown: map[string]*record{}}
}

// Close ends all connections.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, c := range p.clients {
		if c != nil {
			if err := c.Close(); !errors.Is(err, context.Canceled) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// join gives a store its place.
func (p *Pool) join() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stores++
	return p.stores - 1
}

// connect returns the client at the store's place.
func (p *Pool) connect(ctx context.Context, s *Store) (*clientv3.Client, error) {
	i := s.place % len(p.clients)
	p.opening[i].Lock()
	defer p.opening[i].Unlock()
	p.mu.Lock()
	client, closed := p.clients[i], p.closed
	p.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	if client != nil {
		return client, nil
	}
	client, err := s.dial(ctx)
	if err == nil {
		p.mu.Lock()
		p.clients[i] = client
		p.mu.Unlock()
	}
	return client, err
}

// stream makes the store's watch use a stream of its own: etcd's client puts watches together whose
// metadata is the same, and agents on hosts of their own share none.
func (s *Store) stream(ctx context.Context) context.Context {
	if s.opts.Pool == nil {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "weft-agent", strconv.Itoa(s.place))
}

// record is newRecord, once for all streams that bring the same.
func (p *Pool) record(key, name string, v6only bool, kv *mvccpb.KeyValue) *record {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.decoded[key]
	if known != nil && known.owner.mod == kv.ModRevision {
		return known
	}
	r := newRecord(key, name, v6only, kv)
	if known == nil || known.owner.mod < kv.ModRevision {
		p.decoded[key] = r
	}
	return r
}

// snapshot is the state's, made by the first store that has come so far.
func (p *Pool) snapshot(st *state) *lease.Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer st.settled()
	switch {
	case p.last == nil || st.configMod > p.configMod:
		p.shown = make(map[string]*record, len(st.records))
		for key, r := range st.records {
			p.shown[key] = r
		}
		p.configMod = st.configMod
		p.last = p.assembler.All(st.revision, st.parsed, st.configErr, st.entries())
	case st.revision > p.last.Revision:
		p.advance(st)
	case st.revision < p.last.Revision:
		s := *p.last
		s.Revision = st.revision
		return &s
	}
	return p.last
}

// advance makes the newest snapshot out of the last one. What the state has changed since its own last
// snapshot, which was no newer, holds all that has changed since the pool's.
func (p *Pool) advance(st *state) {
	var changes []lease.Change
	compare := func(key string) {
		if old, now := p.shown[key], st.records[key]; old != now {
			changes = append(changes, change(old, now))
			if p.shown[key] = now; now == nil {
				delete(p.shown, key)
			}
		}
	}
	for key := range st.changed {
		compare(key)
	}
	if st.anew { // it has just listed, and knows of no changes
		for key := range st.records {
			compare(key)
		}
		for key := range p.shown {
			compare(key)
		}
	}
	s, ok := p.assembler.Next(st.revision, changes)
	if !ok {
		s = p.assembler.All(st.revision, st.parsed, st.configErr, st.entries())
	}
	p.last = s
}
