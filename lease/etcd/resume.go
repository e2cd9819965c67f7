package etcd

import (
	"context"

	"weft/lease"
)

// resume goes on with the previous subnet in a large network without a list, where its record says that
// it still is this host's; errRace where a list has to tell. When all hosts start at once, as after
// a power failure, each has its lease again after two small requests.
//
// It doesn't see the rest: that peers refuse the record for another one that is older, or that the host
// has an older one elsewhere. The first snapshot shows that, and then the lease.Keeper gives the subnet
// back and acquires again, with a list.
func (a *acquisition) resume(ctx context.Context) (lease.Lease, error) {
	subnets := a.request.Subnets()
	if subnets == (lease.Subnets{}) {
		return lease.Lease{}, errRace
	}
	st := newState(a.store.keys)
	key := st.keys.lease(subnets)
	now, err := a.store.look(ctx, a.client, key)
	if err != nil {
		return lease.Lease{}, err
	}
	if now.count < a.store.large || now.config == nil || now.record == nil {
		return lease.Lease{}, errRace
	}
	st.put(now.config)
	st.put(now.record)
	r := st.records[key]
	usable := st.configErr == nil && r != nil && r.Fault == nil && lease.SameHost(r.Lease.Attrs, a.request.Attrs, st.parsed.Options.Port)
	if !usable || !r.Lease.Reserved && !st.parsed.Fits(r.Lease.Subnets()) {
		return lease.Lease{}, errRace
	}
	return a.takeOver(ctx, st, key)
}
