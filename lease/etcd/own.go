package etcd

import (
	"context"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
)

// own is what the store has of one host already.
type own struct {
	keep     string        // key of the record that it goes on with; empty: it needs another
	replace  []string      // keys of leases that can't be kept, to be deleted with the new one's creation
	previous lease.Subnets // what the first of those held, as much of which as possible is kept
}

// mostReplaced keeps the transaction well below etcd's limit of 128 operations, whatever junk there
// is; what is left over waits for its expiry.
const mostReplaced = 16

// ownRecords finds the records of the host with these attributes, by its public address. One that
// counts in the network is kept if it is a reservation, which an operator put where it is, or fits
// the config. Reservations are never deleted.
func ownRecords(st *state, attrs lease.Attrs) own {
	var o own
	admitted := map[string]bool{}
	for _, l := range st.snapshot().Leases {
		admitted[l.Token] = true
	}
	for _, key := range slices.Sorted(maps.Keys(st.records)) {
		e := st.records[key]
		if e.Fault != nil || !lease.SameHost(e.Lease.Attrs, attrs, st.parsed.Options.Port) {
			continue
		}
		l := e.Lease
		switch {
		case admitted[l.Token] && o.keep == "" && (l.Reserved || st.parsed.Fits(l.Subnets())):
			o.keep = key
		case !l.Reserved && len(o.replace) < mostReplaced:
			o.replace = append(o.replace, key)
			if o.previous == (lease.Subnets{}) {
				o.previous = l.Subnets()
			}
		}
	}
	return o
}

// taken is the set of subnets that some record names, but for those at the given keys. A record
// that is refused for what it says still holds its key; one that claims more than a host's subnet
// holds nothing, or a single junk key would exhaust the network.
func (st *state) taken(except []string) *lease.Taken {
	taken := &lease.Taken{}
	for key := range st.records {
		name, _, ok := st.keys.record(key)
		if !ok || slices.Contains(except, key) {
			continue
		}
		st.occupy(taken, name)
	}
	return taken
}

func (st *state) occupy(taken *lease.Taken, name string) {
	s, err := lease.ParseKey(name)
	if err != nil {
		return
	}
	if st.parsed.Contains(s.V4) {
		taken.Add(lease.Subnets{V4: s.V4})
	}
	if st.parsed.Contains(s.V6) {
		taken.Add(lease.Subnets{V6: s.V6})
	}
}

// hasBase reports whether the record at key begins where subnets do, so that it would stand in the
// way of their creation.
func hasBase(st *state, key string, subnets lease.Subnets) bool {
	name, _, ok := st.keys.record(key)
	if !ok {
		return false
	}
	s, err := lease.ParseKey(name)
	return err == nil && s.V4.IsValid() == subnets.V4.IsValid() && st.keys.base(s) == st.keys.base(subnets)
}

// withdrawIfOverlapping deletes the record just made when one that was there before it has a part
// of its subnets: errRace then. The first-address comparison can't see that for the IPv6 half of a
// dual-stack key. all is the folder as the creating transaction left it, so that of two hosts which
// race, the later one always sees the earlier.
func (a *acquisition) withdrawIfOverlapping(ctx context.Context, st *state, l lease.Lease, key string, all []*mvccpb.KeyValue) error {
	earlier := &lease.Taken{}
	for _, kv := range all {
		if name, _, ok := st.keys.record(string(kv.Key)); ok && string(kv.Key) != key {
			st.occupy(earlier, name)
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
