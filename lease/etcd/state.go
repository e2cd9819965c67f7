package etcd

import (
	"fmt"
	"maps"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
)

// A state is everything below the prefix at one revision. Watch changes it event by event; what it
// makes of itself, the snapshot, is new each time.
type state struct {
	keys     layout
	pool     *Pool // nil unless agents of one process have decoding in common
	revision int64

	config    []byte
	configMod int64 // revision of the config's last change; 0: there is none
	parsed    lease.Config
	configErr error

	records map[string]*record  // by whole key; a record itself never changes
	strays  map[string]struct{} // keys beside the records and the config, so that counts can be compared

	// What the next snapshot is made of: the last one, the records that have changed since as they
	// were then, and whether only a look at everything will do.
	assembler lease.Assembler
	changed   map[string]*record
	anew      bool
}

// A record is one lease's key, and what transactions about it compare.
type record struct {
	lease.Entry
	owner owner
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
		records:   map[string]*record{},
		strays:    map[string]struct{}{},
		changed:   map[string]*record{},
		anew:      true,
	}
}

// clone returns a state of its own, which makes its first snapshot from all records. What belongs to
// snapshots isn't looked at: whoever makes them does so while others clone.
func (st *state) clone() *state {
	c := newState(st.keys)
	c.pool, c.revision = st.pool, st.revision
	c.config, c.configMod, c.parsed, c.configErr = st.config, st.configMod, st.parsed, st.configErr
	c.records, c.strays = maps.Clone(st.records), maps.Clone(st.strays)
	return c
}

// put takes one key in, and reports whether it concerns us.
func (st *state) put(kv *mvccpb.KeyValue) bool {
	key := string(kv.Key)
	if key == st.keys.config() {
		st.config, st.configMod, st.anew = kv.Value, kv.ModRevision, true
		st.parsed, st.configErr = lease.ParseConfig(kv.Value)
		if st.configErr != nil {
			st.parsed = lease.Config{}
			st.configErr = fmt.Errorf("key %s: %w", key, st.configErr)
		}
		return true
	}
	name, v6only, ok := st.keys.record(key)
	if !ok {
		st.strays[key] = struct{}{}
		return false
	}
	st.touch(key)
	if st.pool != nil {
		st.records[key] = st.pool.record(key, name, v6only, kv)
	} else {
		st.records[key] = newRecord(key, name, v6only, kv)
	}
	return true
}

// newRecord decodes one key of a folder.
func newRecord(key, name string, v6only bool, kv *mvccpb.KeyValue) *record {
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
	return &record{Entry: e, owner: owner{id: clientv3.LeaseID(kv.Lease), mod: kv.ModRevision}}
}

// touch remembers how a record was at the last snapshot.
func (st *state) touch(key string) {
	if _, noted := st.changed[key]; !noted && !st.anew {
		st.changed[key] = st.records[key]
	}
}

// drop takes one key out, and reports whether it concerned us.
func (st *state) drop(key string) bool {
	if key == st.keys.config() {
		fresh := newState(st.keys)
		st.config, st.configMod, st.anew = nil, 0, true
		st.parsed, st.configErr = fresh.parsed, fresh.configErr
		return true
	}
	_, known := st.records[key]
	if known {
		st.touch(key)
	}
	delete(st.records, key)
	delete(st.strays, key)
	return known
}

// count is how many keys there are below the prefix.
func (st *state) count() int64 {
	n := len(st.records) + len(st.strays)
	if st.configMod != 0 {
		n++
	}
	return int64(n)
}

// snapshot makes the snapshot of now, out of the last one where that will do.
func (st *state) snapshot() *lease.Snapshot {
	if st.pool != nil {
		return st.pool.snapshot(st)
	}
	defer st.settled()
	if !st.anew {
		if s, ok := st.assembler.Next(st.revision, st.changes()); ok {
			return s
		}
	}
	return st.assembler.All(st.revision, st.parsed, st.configErr, st.entries())
}

// settled begins the wait for the next changes.
func (st *state) settled() {
	clear(st.changed)
	st.anew = false
}

// changes lists what has become of the records that changed since the last snapshot.
func (st *state) changes() []lease.Change {
	all := make([]lease.Change, 0, len(st.changed))
	for key, old := range st.changed {
		if now := st.records[key]; now != old {
			all = append(all, change(old, now))
		}
	}
	return all
}

// change is a step from one record to the next; nil on either side: there is none.
func change(old, now *record) lease.Change {
	var c lease.Change
	if old != nil {
		c.Old = &old.Entry
	}
	if now != nil {
		c.New = &now.Entry
	}
	return c
}

func (st *state) entries() []lease.Entry {
	all := make([]lease.Entry, 0, len(st.records))
	for _, r := range st.records {
		all = append(all, r.Entry)
	}
	return all
}
