package scale

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// An observer is a plain watch beside the agents': it tells which revision the last change has.
type observer struct {
	client   *clientv3.Client
	prefix   string
	revision atomic.Int64
	at       atomic.Int64 // when it came, Unix time, ns
}

func newObserver(endpoints []string, prefix string) (*observer, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("connecting to etcd: %w", err)
	}
	return &observer{client: client, prefix: prefix}, nil
}

// run watches until ctx ends, or the watch does: an error then.
func (b *observer) run(ctx context.Context) error {
	for resp := range b.client.Watch(ctx, b.prefix, clientv3.WithPrefix()) {
		if err := resp.Err(); err != nil {
			return fmt.Errorf("observing etcd: %w", err)
		}
		for _, e := range resp.Events {
			b.at.Store(time.Now().UnixNano())
			b.revision.Store(e.Kv.ModRevision)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("observing etcd: the watch ended")
}

// quiet reports whether nothing has changed for so long.
func (b *observer) quiet(d time.Duration) bool {
	return time.Since(time.Unix(0, b.at.Load())) > d
}

// erase removes everything below the prefix, and the etcd leases that it hangs on: a run may be a
// guest in somebody's etcd.
func (b *observer) erase(ctx context.Context) error {
	all, err := b.client.Get(ctx, b.prefix, clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("cleaning up %s in etcd: %w", b.prefix, err)
	}
	g, revoking := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for _, kv := range all.Kvs {
		if id := clientv3.LeaseID(kv.Lease); id != 0 {
			g.Go(func() error {
				_, err := b.client.Revoke(revoking, id)
				return err
			})
		}
	}
	err = g.Wait()
	if _, deleting := b.client.Delete(ctx, b.prefix, clientv3.WithPrefix()); deleting != nil {
		err = deleting
	}
	if err != nil {
		return fmt.Errorf("cleaning up %s in etcd: %w", b.prefix, err)
	}
	return nil
}
