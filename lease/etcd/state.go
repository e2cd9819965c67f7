package etcd

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
)

// A state is everything below the prefix at one revision. Watch changes it event by event; what it
// makes of itself, the snapshot, is new each time.
type state struct {
	keys     layout
	revision int64

	config    []byte
	configMod int64 // revision of the config's last change; 0: there is none
	parsed    lease.Config
	configErr error

	records map[string]lease.Entry // by whole key
	owners  map[string]owner
}

// An owner is what transactions about a record compare.
type owner struct {
	id  clientv3.LeaseID // 0: a reservation
	mod int64            // revision of its last change
}

func newState(keys layout) *state {
	return &state{
		keys:      keys,
		configErr: fmt.Errorf("%s: %w", keys.config(), lease.ErrNoConfig),
		records:   map[string]lease.Entry{},
		owners:    map[string]owner{},
	}
}

// put takes one key in, and reports whether it concerns us.
func (st *state) put(kv *mvccpb.KeyValue) bool {
	key := string(kv.Key)
	if key == st.keys.config() {
		st.config, st.configMod = kv.Value, kv.ModRevision
		st.parsed, st.configErr = lease.ParseConfig(kv.Value)
		if st.configErr != nil {
			st.parsed = lease.Config{}
			st.configErr = fmt.Errorf("key %s: %w", key, st.configErr)
		}
		return true
	}
	name, v6only, ok := st.keys.record(key)
	if !ok {
		return false
	}
	e := lease.Decode(key, name, kv.Value)
	e.Created = kv.CreateRevision
	if e.Fault == nil && v6only == e.Named.V4.IsValid() {
		e.Lease = lease.Lease{}
		e.Fault = &lease.Fault{Reason: lease.BadKey,
			Detail: "the subnet's family doesn't belong into this folder: delete the record"}
	}
	if e.Fault == nil {
		e.Lease.Revision = kv.ModRevision
		e.Lease.Reserved = kv.Lease == 0
		e.Lease.Token = token{key, clientv3.LeaseID(kv.Lease)}.String()
	}
	st.records[key] = e
	st.owners[key] = owner{id: clientv3.LeaseID(kv.Lease), mod: kv.ModRevision}
	return true
}

// drop takes one key out, and reports whether it concerned us.
func (st *state) drop(key string) bool {
	if key == st.keys.config() {
		fresh := newState(st.keys)
		st.config, st.configMod = nil, 0
		st.parsed, st.configErr = fresh.parsed, fresh.configErr
		return true
	}
	_, known := st.records[key]
	delete(st.records, key)
	delete(st.owners, key)
	return known
}

func (st *state) snapshot() *lease.Snapshot {
	return lease.Assemble(st.revision, st.parsed, st.configErr, st.entries())
}

func (st *state) entries() []lease.Entry { return slices.Collect(maps.Values(st.records)) }

// pageSize keeps one answer of a list near a megabyte.
const pageSize = 5000

// list reads everything below the prefix, at one revision however many pages it takes.
func (s *Store) list(ctx context.Context) (*state, error) {
	client, err := s.connect(ctx)
	if err != nil {
		return nil, s.explain(ctx, "listing leases", err)
	}
	st := newState(s.keys)
	from, end := s.keys.root(), clientv3.GetPrefixRangeEnd(s.keys.root())
	for {
		resp, err := s.page(ctx, client, from, end, st.revision)
		if err != nil {
			return nil, s.explain(ctx, "listing leases", err)
		}
		if st.revision == 0 { // the first page; the others are asked for at its revision
			st.revision = resp.Header.Revision
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

func (s *Store) page(ctx context.Context, c *clientv3.Client, from, end string, rev int64) (*clientv3.GetResponse, error) {
	ctx, cancel := s.request(ctx)
	defer cancel()
	return c.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(rev))
}
