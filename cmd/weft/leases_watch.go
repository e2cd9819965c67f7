package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sync/errgroup"

	"weft/lease"
	"weft/lease/etcd"
)

// A display shows the present state in its own way. show is called at every change and once a second
// besides; s is nil before the store's first answer.
type display interface {
	show(ctx context.Context, s *lease.Snapshot, status lease.FollowStatus) error
	// end puts back what the display has changed about the terminal.
	end() error
}

// watchLeases shows the leases until ctx ends, which is no error. The store may be away at the start,
// or go away later: the display says so, and goes on when it is back.
func watchLeases(ctx context.Context, out io.Writer, s *etcd.Store, o leasesOptions) error {
	var d display = newChangeLines(out, o)
	resized := make(chan os.Signal, 1)
	if size, ok := windowSize(out); ok && !o.asJSON {
		signal.Notify(resized, resizeSignal)
		defer signal.Stop(resized)
		d = newScreen(out, o, s, func() (window, bool) {
			if now, ok := windowSize(out); ok {
				size = now
			}
			return size, true
		})
	}
	return watch(ctx, lease.NewFollower(s, nil), d, resized)
}

// watch runs the follower and shows what it finds.
func watch(ctx context.Context, f *lease.Follower, d display, resized <-chan os.Signal) (err error) {
	tasks, life := errgroup.WithContext(ctx)
	tasks.Go(func() error { return f.Run(life) })
	tasks.Go(func() error { return showAll(life, f, d, resized) })
	err = tasks.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		err = nil // Ctrl-C is how it ends
	}
	return errors.Join(err, d.end())
}

const (
	clockTick = time.Second            // for what is left of leases, and the follower's status
	restShow  = 100 * time.Millisecond // a start of thousands of hosts needn't be drawn host by host
)

func showAll(ctx context.Context, f *lease.Follower, d display, resized <-chan os.Signal) error {
	tick := time.NewTicker(clockTick)
	defer tick.Stop()
	for {
		s, version := f.Snapshots().Latest()
		if err := d.show(ctx, s, f.Status()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.Snapshots().Changed(version):
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(restShow):
			}
		case <-resized:
		case <-tick.C:
		}
	}
}
