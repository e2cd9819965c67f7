package etcd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
)

// reserveWait is the most that Reserve waits before it looks again. It is the only writer that needs
// all records to stand still, so while thousands of hosts start it loses often.
const reserveWait = 200 * time.Millisecond

// A Reserved is what Reserve has done.
type Reserved struct {
	Subnets  lease.Subnets
	Revision int64         // of the record; 0 with Already
	Already  bool          // it was reserved for this host before; nothing was written
	Kept     bool          // the host leased it: its record is what it was, and no longer expires
	Ended    []lease.Lease // leases that were replaced, by force
}

// Reserve writes a reservation: a record that hangs on no etcd lease, and so never expires. The host
// with that public address takes it over when it starts, or at once if it runs with that subnet.
// What is refused is a [*lease.Fault]; ErrNoConfig without a config.
//
// It is written only if nothing has changed since everything was looked at, config and records: a
// host that leases the subnet, or another one, at the same moment is seen, by it or by us.
func (s *Store) Reserve(ctx context.Context, r lease.Reservation) (Reserved, error) {
	doing := "reserving " + r.Subnets.CIDR()
	value, err := lease.EncodeValue(r.Attrs)
	if err != nil {
		return Reserved{}, err
	}
	for range mostLists {
		st, err := s.list(ctx)
		if err != nil {
			return Reserved{}, err
		}
		if st.configErr != nil {
			return Reserved{}, fmt.Errorf("%s: %w", doing, st.configErr)
		}
		plan, err := st.parsed.PlanReservation(r, st.entries())
		if err != nil {
			return Reserved{}, fmt.Errorf("%s: %w", doing, err)
		}
		done := Reserved{Subnets: r.Subnets, Already: plan.Done, Kept: plan.Keep != "" && !plan.Done}
		if plan.Done && len(plan.Replace) == 0 {
			return done, nil
		}
		done.Revision, err = s.reserve(ctx, st, r.Subnets, string(value), plan)
		if err == nil {
			for _, e := range plan.Replace {
				done.Ended = append(done.Ended, e.Lease)
			}
			return done, nil
		}
		if !errors.Is(err, errRace) {
			return Reserved{}, s.explain(ctx, doing, err)
		}
		select {
		case <-ctx.Done():
			return Reserved{}, fmt.Errorf("%s: %w", doing, context.Cause(ctx))
		case <-time.After(rand.N(reserveWait)):
		}
	}
	return Reserved{}, fmt.Errorf("%s: %w: the leases changed %d times in a row meanwhile: try again "+
		"when fewer hosts are starting", doing, lease.ErrUnavailable, mostLists)
}

// reserve carries a plan out in one transaction, and returns the revision; errRace when anything has
// changed since st was listed.
func (s *Store) reserve(ctx context.Context, st *state, subnets lease.Subnets, value string, plan lease.ReservationPlan) (int64, error) {
	client, err := s.connect(ctx)
	if err != nil {
		return 0, err
	}
	ifs := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(st.keys.config()), "=", st.configMod)}
	for _, v6only := range []bool{false, true} {
		// Over a range all keys must pass; over an empty one a key of revision 0 does.
		ifs = append(ifs, clientv3.Compare(clientv3.ModRevision(st.keys.folder(v6only)), "<", st.revision+1).WithPrefix())
	}
	key := st.keys.lease(subnets)
	put := clientv3.OpPut(key, value)
	if plan.Keep != "" {
		// The value is the host's own; etcd writes it anew, so that the lease can be left out.
		key = plan.Keep
		put = clientv3.OpPut(key, "", clientv3.WithIgnoreValue())
		ifs = append(ifs, clientv3.Compare(clientv3.ModRevision(key), "=", st.records[key].owner.mod))
	}
	thens := []clientv3.Op{put}
	for _, e := range plan.Replace {
		if e.Key != key { // written over otherwise
			thens = append(thens, clientv3.OpDelete(e.Key))
		}
	}
	limited, cancel := s.request(ctx)
	defer cancel()
	resp, err := client.Txn(limited).If(ifs...).Then(thens...).Commit()
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		return 0, errRace
	}
	return resp.Header.Revision, nil
}
