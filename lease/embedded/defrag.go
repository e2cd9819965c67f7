package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/lease"
)

// Defrag says when a member makes its database file smaller. Compaction only frees pages inside the
// file; to give them back the file is copied, and the member answers nobody meanwhile (some 10 ms
// for each MiB in use). So it is done seldom, only where it is worth it, and by one member at a time.
type Defrag struct {
	Every time.Duration // between two looks at the file, ± 20 %; 0: ten minutes; negative: never
	Above int64         // bytes of file up to which it is never worth it; 0: 32 MiB
}

// The leases of 5,000 hosts and an hour of their changes are some 10 MiB, so that an etcd which
// holds leases only never gets to defaultDefragAbove; one that had a flood in it does. bbolt takes 16 MiB
// from the disk at a time, so that a file of less can't become smaller.
const (
	defaultDefragEvery = 10 * time.Minute
	defaultDefragAbove = 32 << 20
)

// due reports whether the copy is worth its pause: more than half of the file is free.
func (d Defrag) due(size, used int64) bool {
	above := d.Above
	if above == 0 {
		above = defaultDefragAbove
	}
	return size > above && used < size/2
}

// next returns a time between two looks, drawn anew each time so that members don't keep step.
func (d Defrag) next() time.Duration {
	every := d.Every
	if every == 0 {
		every = defaultDefragEvery
	}
	return every + time.Duration((rand.Float64()-0.5)*0.4*float64(every))
}

// Only one member of a cluster may be away at a time. The one that is holds an etcd lease of this
// ID, which cannot be granted twice; a member that dies meanwhile loses it after lockTime. A lease
// needs no key, so that nothing of weft's stands among the users' ones.
const (
	lockID   = 0x77656674_64656672 // "weftdefr"
	lockTime = 10 * time.Minute
)

// A defragmenter looks after the file of one member.
type defragmenter struct {
	options Defrag
	server  *etcdserver.EtcdServer
	log     *slog.Logger
	passed  int // looks at which this member, as the leader, let the others go first
}

// run looks again and again until ctx ends.
func (d *defragmenter) run(ctx context.Context) {
	for d.options.Every >= 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(d.options.next()):
		}
		if err := d.look(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("making the file of embedded etcd smaller failed; trying again later", "err", err)
		}
	}
}

// look does what is due now: nothing, mostly.
func (d *defragmenter) look(ctx context.Context) error {
	if b := d.server.Backend(); !d.options.due(b.Size(), b.SizeInUse()) {
		d.passed = 0
		return nil
	}
	// A leader that pauses holds up all writes. So the others go first (two looks of the leader's are
	// longer than one of theirs), and then it hands over to one of them.
	hands := d.leads() && len(d.server.Cluster().Members()) > 1
	if hands && d.passed < 2 {
		d.passed++
		return nil
	}
	unlock, err := d.lock(ctx)
	if err != nil || unlock == nil {
		return err
	}
	defer unlock()
	if hands {
		if err := d.server.TryTransferLeadershipOnShutdown(); err != nil { // which stops nothing
			return fmt.Errorf("handing leadership over: %w", err)
		}
	}
	return d.defragment(ctx)
}

func (d *defragmenter) leads() bool { return d.server.Leader() == d.server.MemberID() }

// lock returns nil where another member has the lock.
func (d *defragmenter) lock(ctx context.Context) (unlock func(), err error) {
	limited, cancel := context.WithTimeout(ctx, d.server.Cfg.ReqTimeout())
	defer cancel()
	_, err = d.server.LeaseGrant(d.server.AuthStore().WithRoot(limited),
		&pb.LeaseGrantRequest{ID: lockID, TTL: int64(lockTime / time.Second)})
	if errors.Is(err, lease.ErrLeaseExists) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return func() {
		// Also when ctx has ended: else the others would wait for lockTime.
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, err := d.server.LeaseRevoke(d.server.AuthStore().WithRoot(limited), &pb.LeaseRevokeRequest{ID: lockID})
		if err != nil {
			d.log.Warn("the turn to make the file of embedded etcd smaller wasn't handed on; it runs out by itself",
				"after", lockTime, "err", err)
		}
	}, nil
}

// defragment copies the file. etcd counts it in its own metric
// etcd_disk_backend_defrag_duration_seconds, at /metrics of the client URLs.
func (d *defragmenter) defragment(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	b := d.server.Backend()
	before, leads, begun := b.Size(), d.leads(), time.Now()
	if err := d.server.Defragment(); err != nil {
		return err
	}
	d.log.Info("embedded etcd made its file smaller", "member", d.server.MemberID().String(), "leads", leads,
		"before", before, "after", d.server.Backend().Size(), "took", time.Since(begun).Round(time.Millisecond))
	return nil
}
