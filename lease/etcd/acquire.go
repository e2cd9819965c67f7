package etcd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
)

// Limits of one Acquire. Every race that is lost was won by another host, so that even thousands of
// hosts which start together are done after a few looks; the limit only ends what would not end.
const (
	triesPerList = 8
	mostLists    = 50

	// Each race that is lost for a new subnet widens the draw so much, up to widest: where one is lost
	// many hosts draw, and each further loss is a proposal that all of etcd's members agree about in vain.
	widening = 64
	widest   = 1 << 14
)

// errRace: another transaction came first; look again.
var errRace = errors.New("lost a race")

// Acquire leases a subnet for the host that r describes.
func (s *Store) Acquire(ctx context.Context, r lease.Request) (lease.Lease, error) {
	defer s.acquires()()
	client, err := s.connect(ctx)
	if err != nil {
		return lease.Lease{}, s.explain(ctx, "acquiring a lease", err)
	}
	value, err := lease.EncodeValue(r.Attrs)
	if err != nil {
		return lease.Lease{}, err
	}
	if !r.Attrs.PublicIP.IsValid() && !r.Attrs.PublicIPv6.IsValid() {
		return lease.Lease{}, errors.New("acquiring a lease: no public address: set PublicIP or PublicIPv6")
	}
	a := &acquisition{store: s, client: client, request: r, value: string(value)}
	defer a.abandon(ctx)
	if l, err := a.resume(ctx); !errors.Is(err, errRace) {
		return l, s.explain(ctx, "acquiring a lease", err)
	}
	for range mostLists {
		st, err := s.recent(ctx)
		if err != nil {
			return lease.Lease{}, err
		}
		if st.configErr != nil {
			return lease.Lease{}, fmt.Errorf("acquiring a lease: %w", st.configErr)
		}
		l, err := a.attempt(ctx, st, s.firstDraw())
		if !errors.Is(err, errRace) {
			s.keepListed(st)
			return l, s.explainAcquire(ctx, err)
		}
	}
	return lease.Lease{}, fmt.Errorf("acquiring a lease: %w: lost %d races in a row",
		lease.ErrUnavailable, mostLists*triesPerList)
}

// firstDraw is how many free subnets the first try draws from: flannel's hundred, unless a slow answer says
// that there is a crowd, in which almost all would draw in vain.
func (s *Store) firstDraw() int {
	if s.crowded.Load() {
		return widest
	}
	return lease.Candidates
}

// explainAcquire leaves alone what is no error of etcd's.
func (s *Store) explainAcquire(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, lease.ErrExhausted) {
		return err
	}
	return s.explain(ctx, "acquiring a lease", err)
}

// An acquisition is one call of Acquire.
type acquisition struct {
	store   *Store
	client  *clientv3.Client
	request lease.Request
	value   string

	granted clientv3.LeaseID // 0: none so far, or in use
	expiry  time.Time
}

// attempt acts on what is in the store: it takes over a record that is the host's already, or creates
// one. Each race that it loses for a new one widens what it draws from: thousands of hosts that start
// together would lose for ever if all drew from the first hundred subnets.
func (a *acquisition) attempt(ctx context.Context, st *state, spread int) (lease.Lease, error) {
	plan := st.parsed.PlanFor(a.request, st.entries())
	if plan.Keep != "" {
		return a.takeOver(ctx, st, plan.Keep)
	}
	lost := map[lease.Subnets]bool{}
	for range triesPerList {
		subnets, ok := firstBut(lost, plan.Candidates(spread))
		if !ok {
			break
		}
		l, err := a.create(ctx, st, subnets, plan.Replace)
		if !errors.Is(err, errRace) {
			return l, err
		}
		lost[subnets] = true
		spread = min(spread*widening, widest)
	}
	if len(lost) > 0 {
		return lease.Lease{}, errRace
	}
	return lease.Lease{}, exhausted(st)
}

// firstBut returns the first candidate for which no race has been lost; false when there is none.
func firstBut(lost map[lease.Subnets]bool, candidates iter.Seq[lease.Subnets]) (lease.Subnets, bool) {
	for c := range candidates {
		if !lost[c] {
			return c, true
		}
	}
	return lease.Subnets{}, false
}

func exhausted(st *state) error {
	c := st.parsed
	first, last, bits := c.SubnetMin, c.SubnetMax, c.SubnetLen
	if !c.EnableIPv4 {
		first, last, bits = c.IPv6SubnetMin, c.IPv6SubnetMax, c.IPv6SubnetLen
	}
	return fmt.Errorf("%w: all /%d subnets from %s to %s are taken: release one, or widen the range "+
		"in %s", lease.ErrExhausted, bits, first, last, st.keys.config())
}

// grant asks for an etcd lease, once for all tries. Its time counts from before the request, so
// that the host never believes longer than the store does.
func (a *acquisition) grant(ctx context.Context) error {
	if a.granted != 0 && time.Until(a.expiry) > a.store.opts.TTL/2 {
		return nil
	}
	a.abandon(ctx)
	limited, cancel := a.store.request(ctx)
	defer cancel()
	asked := time.Now()
	resp, err := a.client.Grant(limited, int64(a.store.opts.TTL/time.Second))
	if err != nil {
		return err
	}
	a.granted, a.expiry = resp.ID, asked.Add(time.Duration(resp.TTL)*time.Second)
	return nil
}

// abandon gives an unused etcd lease back. It is a courtesy: the lease ends by itself, too.
func (a *acquisition) abandon(ctx context.Context) {
	if a.granted == 0 {
		return
	}
	limited, cancel := a.store.request(context.WithoutCancel(ctx))
	defer cancel()
	if _, err := a.client.Revoke(limited, a.granted); err != nil {
		a.store.opts.Log.Debug("unused etcd lease not revoked; it will expire", "err", err)
	}
	a.granted = 0
}

// used marks the granted lease as the record's, and returns its id.
func (a *acquisition) used() clientv3.LeaseID {
	id := a.granted
	a.granted = 0
	return id
}

// create makes the record of a subnet, where in one transaction the config is the one we read,
// nothing has the subnet, and the host's records which it replaces are as we know them.
func (a *acquisition) create(ctx context.Context, st *state, subnets lease.Subnets, replace []string) (lease.Lease, error) {
	if err := a.grant(ctx); err != nil {
		return lease.Lease{}, err
	}
	key := st.keys.lease(subnets)
	ifs := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(st.keys.config()), "=", st.configMod)}
	var thens []clientv3.Op
	base := st.keys.base(subnets)
	free := clientv3.Compare(clientv3.Version(base), "=", 0).WithPrefix()
	for _, old := range replace {
		unchanged := clientv3.Compare(clientv3.ModRevision(old), "=", st.records[old].owner.mod)
		ifs = append(ifs, unchanged)
		if old == key { // a record of ours that didn't count is written anew
			free = unchanged
			continue
		}
		thens = append(thens, clientv3.OpDelete(old))
		if strings.HasPrefix(old, base) && !slices.Contains(replace, key) {
			// Our own record is in the way; let nobody else's be.
			free = clientv3.Compare(clientv3.Version(key), "=", 0)
		}
	}
	// Over an empty range a comparison is made with a key of version 0, and so holds.
	ifs = append(ifs, free)
	thens = append(thens, clientv3.OpPut(key, a.value, clientv3.WithLease(a.granted)))
	dual := subnets.V4.IsValid() && subnets.V6.IsValid()
	if dual {
		thens = append(thens, clientv3.OpGet(st.keys.folder(false), clientv3.WithPrefix(), clientv3.WithKeysOnly()))
	}
	resp, err := a.commit(ctx, ifs, thens)
	if err != nil {
		return lease.Lease{}, err
	}
	l := lease.Lease{Subnet: subnets.V4, Subnet6: subnets.V6, Attrs: a.request.Attrs,
		Expiry: a.expiry, Revision: resp.Header.Revision,
		Token: token{key, a.used()}.String()}
	if dual {
		listed := resp.Responses[len(resp.Responses)-1].GetResponseRange()
		if err := a.withdrawIfOverlapping(ctx, st, l, key, listed.Kvs); err != nil {
			return lease.Lease{}, err
		}
	}
	return l, nil
}

// commit runs one transaction; errRace when its comparisons fail.
func (a *acquisition) commit(ctx context.Context, ifs []clientv3.Cmp, thens []clientv3.Op) (*clientv3.TxnResponse, error) {
	limited, cancel := a.store.request(ctx)
	defer cancel()
	resp, err := a.client.Txn(limited).If(ifs...).Then(thens...).Commit()
	if err == nil && !resp.Succeeded {
		err = errRace
	}
	return resp, err
}

// takeOver makes a record of an earlier run this run's own. A reservation stays one.
func (a *acquisition) takeOver(ctx context.Context, st *state, key string) (lease.Lease, error) {
	was, l := st.records[key].owner, st.records[key].Lease
	l.Attrs = a.request.Attrs
	put := clientv3.OpPut(key, a.value)
	if was.id != 0 {
		if err := a.grant(ctx); err != nil {
			return lease.Lease{}, err
		}
		put = clientv3.OpPut(key, a.value, clientv3.WithLease(a.granted))
	}
	unchanged := clientv3.Compare(clientv3.ModRevision(key), "=", was.mod)
	resp, err := a.commit(ctx, []clientv3.Cmp{unchanged}, []clientv3.Op{put})
	if err != nil {
		return lease.Lease{}, err
	}
	l.Revision = resp.Header.Revision
	if was.id != 0 {
		l.Expiry = a.expiry
		l.Token = token{key, a.used()}.String()
		a.store.revokeUnused(ctx, a.client, was.id)
	}
	return l, nil
}
