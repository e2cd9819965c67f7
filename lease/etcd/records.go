package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
)

// ErrChanged: the record is no longer as it was when it was looked at. Look again.
var ErrChanged = errors.New("the record has changed meanwhile")

// A Record is one key of the network as it is in etcd, whether hosts heed it or skip it.
type Record struct {
	lease.Entry
	Revision int64 // of its last change
	ID       int64 // of the etcd lease it hangs on; 0: it never expires
}

// A Listing is the network at one revision: what counts, and the records that it was made of.
type Listing struct {
	Snapshot *lease.Snapshot
	Records  []Record // sorted by key
}

// Look returns the present state at the price of one list, without any lease's expiry; Timings
// finds that out.
func (s *Store) Look(ctx context.Context) (Listing, error) {
	st, err := s.list(ctx)
	if err != nil {
		return Listing{}, err
	}
	l := Listing{Snapshot: st.snapshot(), Records: make([]Record, 0, len(st.records))}
	for _, e := range st.records {
		l.Records = append(l.Records, Record{Entry: e.Entry, Revision: e.owner.mod, ID: int64(e.owner.id)})
	}
	slices.SortFunc(l.Records, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
	return l, nil
}

// Remove deletes a record, whosever it is, where it still is as it was looked at: ErrChanged
// otherwise, also when it has gone. The holder, if it runs, notices that and leases again.
func (s *Store) Remove(ctx context.Context, r Record) error {
	doing := "removing " + r.Key
	client, err := s.connect(ctx)
	if err != nil {
		return s.explain(ctx, doing, err)
	}
	limited, cancel := s.request(ctx)
	defer cancel()
	resp, err := client.Txn(limited).
		If(clientv3.Compare(clientv3.ModRevision(r.Key), "=", r.Revision)).
		Then(clientv3.OpDelete(r.Key)).Commit()
	switch {
	case err != nil:
		return s.explain(ctx, doing, err)
	case !resp.Succeeded:
		return fmt.Errorf("%s: %w", doing, ErrChanged)
	case r.ID != 0:
		s.revokeUnused(ctx, client, clientv3.LeaseID(r.ID))
	}
	return nil
}

// Details is all that etcd knows about one record.
type Details struct {
	Value                      []byte
	Created, Revision, Written int64 // revisions of first and last write, and how often it was written
	ID                         int64 // of its etcd lease; 0: none
	Granted                    time.Duration
	Timing
}

// Details reads one record by its whole key; ErrChanged if it has gone.
func (s *Store) Details(ctx context.Context, key string) (Details, error) {
	doing := "reading " + key
	client, err := s.connect(ctx)
	if err != nil {
		return Details{}, s.explain(ctx, doing, err)
	}
	limited, cancel := s.request(ctx)
	defer cancel()
	resp, err := client.Get(limited, key)
	if err != nil {
		return Details{}, s.explain(ctx, doing, err)
	}
	if len(resp.Kvs) == 0 {
		return Details{}, fmt.Errorf("%s: %w", doing, ErrChanged)
	}
	kv := resp.Kvs[0]
	d := Details{Value: kv.Value, Created: kv.CreateRevision, Revision: kv.ModRevision, Written: kv.Version, ID: kv.Lease}
	if d.ID != 0 {
		d.Timing, d.Granted, err = s.timing(ctx, client, clientv3.LeaseID(d.ID))
	}
	return d, s.explain(ctx, doing, err)
}
