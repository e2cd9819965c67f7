package etcd

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
)

// withdrawIfOverlapping deletes the record just made when one that was there before it has a part
// of its subnets: errRace then. The first-address comparison can't see that for the IPv6 half of a
// dual-stack key. all is the folder as the creating transaction left it, so that of two hosts which
// race, the later one always sees the earlier.
func (a *acquisition) withdrawIfOverlapping(ctx context.Context, st *state, l lease.Lease, key string, all []*mvccpb.KeyValue) error {
	earlier := &lease.Taken{}
	for _, kv := range all {
		if name, _, ok := st.keys.record(string(kv.Key)); ok && string(kv.Key) != key {
			if named, err := lease.ParseKey(name); err == nil {
				earlier.AddNamed(st.parsed, named)
			}
		}
	}
	if !earlier.Overlaps(l.Subnets()) {
		return nil
	}
	unchanged := clientv3.Compare(clientv3.ModRevision(key), "=", l.Revision)
	if _, err := a.commit(ctx, []clientv3.Cmp{unchanged}, []clientv3.Op{clientv3.OpDelete(key)}); err != nil {
		return err
	}
	return errRace
}

// revokeUnused ends an etcd lease of an earlier run once no key hangs on it. It is a courtesy: the
// lease ends by itself, too; but an agent that restarts in a loop would leave thousands.
func (s *Store) revokeUnused(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID) {
	limited, cancel := s.request(ctx)
	defer cancel()
	resp, err := client.TimeToLive(limited, id, clientv3.WithAttachedKeys())
	if err == nil && resp.TTL > 0 && len(resp.Keys) == 0 {
		_, err = client.Revoke(limited, id)
	}
	if err != nil {
		s.opts.Log.Debug("unused etcd lease not revoked; it will expire", "err", err)
	}
}
