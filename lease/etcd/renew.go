package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
)

// Renew extends the lease and rewrites its value where the attributes changed. The order makes it
// true: first the etcd lease is extended, then the record is seen, or written, still hanging on it.
func (s *Store) Renew(ctx context.Context, l lease.Lease) (lease.Lease, error) {
	t, err := parseToken(l)
	if err != nil {
		return l, err
	}
	doing := "renewing lease " + l.Subnets().String()
	client, err := s.connect(ctx)
	if err != nil {
		return l, s.explain(ctx, doing, err)
	}
	if t.id != 0 {
		asked := time.Now()
		seconds, err := s.extend(ctx, client, t.id)
		if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return l, s.explain(ctx, doing, err)
		}
		l.Expiry = asked.Add(time.Duration(seconds) * time.Second)
		// Not found: the record has gone with it, or hangs on none by now, as a reservation.
	}
	for {
		renewed, err := s.rewrite(ctx, client, l, t)
		if errors.Is(err, errRace) {
			continue // it changed between reading and writing; ctx ends this if nothing else does
		}
		if errors.Is(err, lease.ErrLost) {
			return l, fmt.Errorf("%s: %w", doing, err)
		}
		return renewed, s.explain(ctx, doing, err)
	}
}

// extend gives an etcd lease its whole time again, and returns how much that is.
func (s *Store) extend(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID) (int64, error) {
	limited, cancel := s.request(ctx)
	defer cancel()
	resp, err := client.KeepAliveOnce(limited, id)
	if err != nil {
		return 0, err
	}
	return resp.TTL, nil
}

// rewrite checks that the record is still the holder's and writes the value if it differs.
func (s *Store) rewrite(ctx context.Context, client *clientv3.Client, l lease.Lease, t token) (lease.Lease, error) {
	held, err := s.held(ctx, client, l, t)
	if err != nil {
		return l, err
	}
	if held.owner.id == 0 {
		l.Expiry, l.Reserved = time.Time{}, true
	}
	l.Revision = held.owner.mod
	l.Token = token{t.key, held.owner.id}.String()
	value, err := lease.EncodeValue(l.Attrs)
	if err != nil || string(value) == held.value {
		return l, err
	}
	limited, cancel := s.request(ctx)
	defer cancel()
	put := clientv3.OpPut(t.key, string(value))
	if held.owner.id != 0 {
		put = clientv3.OpPut(t.key, string(value), clientv3.WithLease(held.owner.id))
	}
	resp, err := client.Txn(limited).
		If(clientv3.Compare(clientv3.ModRevision(t.key), "=", held.owner.mod)).
		Then(put).Commit()
	switch {
	case err != nil:
		return l, err
	case !resp.Succeeded:
		return l, errRace
	}
	l.Revision = resp.Header.Revision
	return l, nil
}

// A holding is the record as it is in the store, seen to be the holder's.
type holding struct {
	owner owner
	value string
}

// errGone: there is no record.
var errGone = fmt.Errorf("%w: its record has expired or was deleted", lease.ErrLost)

// held reads the record and checks whose it is: it hangs on the holder's own etcd lease, whatever it
// says, or on none and names its address. An operator who writes a lease over without one makes it
// a reservation. The address alone proves nothing: it may just be changing, or be claimed twice.
func (s *Store) held(ctx context.Context, client *clientv3.Client, l lease.Lease, t token) (holding, error) {
	limited, cancel := s.request(ctx)
	defer cancel()
	resp, err := client.Get(limited, t.key)
	if err != nil {
		return holding{}, err
	}
	if len(resp.Kvs) == 0 {
		return holding{}, errGone
	}
	kv := resp.Kvs[0]
	now := owner{id: clientv3.LeaseID(kv.Lease), mod: kv.ModRevision}
	if now.id != 0 && now.id == t.id {
		return holding{owner: now, value: string(kv.Value)}, nil
	}
	attrs, err := lease.DecodeValue(kv.Value)
	switch {
	case err != nil:
		return holding{}, fmt.Errorf("%w: its record was overwritten: %w", lease.ErrLost, err)
	case !lease.SameHost(attrs, l.Attrs, 0):
		return holding{}, fmt.Errorf("%w: its record names another host, %s", lease.ErrLost, hostOf(attrs))
	case now.id != 0:
		return holding{}, fmt.Errorf("%w: another agent with this host's public address, %s, has "+
			"taken it over", lease.ErrLost, hostOf(attrs))
	}
	return holding{owner: now, value: string(kv.Value)}, nil
}

func hostOf(a lease.Attrs) string {
	if a.PublicIP.IsValid() {
		return a.PublicIP.String()
	}
	return a.PublicIPv6.String()
}

// Release deletes the record if it still is the holder's. A reservation is the operator's to
// delete, and stays.
func (s *Store) Release(ctx context.Context, l lease.Lease) error {
	t, err := parseToken(l)
	if err != nil {
		return err
	}
	doing := "releasing lease " + l.Subnets().String()
	client, err := s.connect(ctx)
	if err != nil {
		return s.explain(ctx, doing, err)
	}
	for {
		err := s.remove(ctx, client, l, t)
		switch {
		case errors.Is(err, errRace):
			continue
		case errors.Is(err, errGone):
			return nil
		case errors.Is(err, lease.ErrLost):
			return fmt.Errorf("%s: %w", doing, err)
		}
		return s.explain(ctx, doing, err)
	}
}

func (s *Store) remove(ctx context.Context, client *clientv3.Client, l lease.Lease, t token) error {
	held, err := s.held(ctx, client, l, t)
	if err != nil || held.owner.id == 0 {
		return err
	}
	limited, cancel := s.request(ctx)
	defer cancel()
	resp, err := client.Txn(limited).
		If(clientv3.Compare(clientv3.ModRevision(t.key), "=", held.owner.mod)).
		Then(clientv3.OpDelete(t.key)).Commit()
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return errRace
	}
	s.revokeUnused(ctx, client, held.owner.id)
	return nil
}

// expiryOf turns what is left of an etcd lease, in seconds, into a time; -1 says that it has ended.
func expiryOf(seconds int64) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(seconds) * time.Second)
}
