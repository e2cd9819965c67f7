package etcd

import (
	"cmp"
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"weft/lease"
)

// timingsAtOnce bounds how many requests of one Timings are under way: etcd answers each from
// memory, so that waiting for the way there and back is what takes the time.
const timingsAtOnce = 64

// A Timing is what etcd knows about a lease's time. It keeps no times of day: both are counted from
// the seconds that are left, on this machine's clock.
type Timing struct {
	Expiry  time.Time // zero: never, or it has just ended
	Renewed time.Time // when it last got its whole time: at the start of its agent, or a renewal
}

// Timings returns the timing of each lease, in their order. A reservation, and a lease that has
// ended since, has the zero one. etcd has no request for several: this makes one each, 64 at once,
// over one connection.
func (s *Store) Timings(ctx context.Context, leases []lease.Lease) ([]Timing, error) {
	client, err := s.connect(ctx)
	if err != nil {
		return nil, s.explain(ctx, "reading expiry", err)
	}
	timings := make([]Timing, len(leases))
	asking, stop := errgroup.WithContext(ctx)
	asking.SetLimit(timingsAtOnce)
	for i, l := range leases {
		t, err := parseToken(l)
		if err != nil {
			return nil, err
		}
		if t.id == 0 {
			continue
		}
		if stop.Err() != nil {
			break
		}
		asking.Go(func() (err error) {
			timings[i], _, err = s.timing(stop, client, t.id)
			return err
		})
	}
	if err := cmp.Or(asking.Wait(), ctx.Err()); err != nil { // nothing may have been asked
		return nil, s.explain(ctx, "reading expiry", err)
	}
	return timings, nil
}

// timing asks for one etcd lease, and returns the time that it is granted as well.
func (s *Store) timing(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID) (Timing, time.Duration, error) {
	limited, cancel := s.request(ctx)
	defer cancel()
	resp, err := client.TimeToLive(limited, id)
	if err != nil || resp.TTL <= 0 {
		return Timing{}, 0, err
	}
	granted := time.Duration(resp.GrantedTTL) * time.Second
	expiry := expiryOf(resp.TTL)
	return Timing{Expiry: expiry, Renewed: expiry.Add(-granted)}, granted, nil
}
