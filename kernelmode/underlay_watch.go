package kernelmode

import (
	"context"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
)

// SelectInterface chooses the underlay interface as the kernel stands now. The error lists what was
// tried and what exists.
func SelectInterface(k Kernel, s Selection) (Underlay, error) {
	all, err := k.Interfaces()
	if err != nil {
		return Underlay{}, err
	}
	var reach reached
	if s.CanReach.IsValid() {
		reach.device, reach.err = k.Reach(s.CanReach)
	}
	return choose(s, all, reach)
}

// Follow returns the Selection that stays with an interface already chosen: its name is fixed, its
// addresses and MTU may change. Without it a better default route would move a running host.
func (s Selection) Follow(u Underlay) Selection {
	s.Interfaces, s.Regexes, s.CanReach = []string{u.Name}, nil, netip.Addr{}
	return s
}

// relook bounds how late WatchUnderlay notices a change that no event told of.
const relook = 10 * time.Second

// WatchUnderlay calls yield whenever the selection's outcome differs from the one before, beginning
// with known: another MTU or address, an interface that went (err is then set, and says what was
// tried), or came back (perhaps with another index). It blocks until ctx ends and then returns nil;
// yield is called by one goroutine at a time.
func WatchUnderlay(ctx context.Context, k Kernel, s Selection, known Underlay, yield func(Underlay, error)) error {
	changed := make(chan struct{}, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return listen(ctx, k, movesUnderlay, changed, func(error) {}) })
	g.Go(func() error {
		for lost := false; ; {
			timer := time.NewTimer(relook)
			select {
			case <-ctx.Done():
			case <-timer.C:
			case <-changed:
				pause(ctx, settle)
			}
			timer.Stop()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if u, err := SelectInterface(k, s); u != known || lost != (err != nil) {
				known, lost = u, err != nil
				yield(u, err)
			}
		}
	})
	return unlessEnded(g.Wait())
}

// movesUnderlay reports whether an event can change which interface is chosen, or what is known of it.
func movesUnderlay(e Event) bool {
	switch e.Kind {
	case EventNeighbour:
		return false
	case EventRoute: // default routes, and those that come with an address or are added by hand
		return isDefault(e.Dst) || e.Protocol == ProtocolKernel || e.Protocol == ProtocolBoot || e.Protocol == protocolStatic
	}
	return true
}

func isDefault(p netip.Prefix) bool { return p.IsValid() && p.Bits() == 0 }

// listen keeps a Watch going until ctx ends, and leaves a token in changed for every event that
// matters. A Watch that breaks is started again, and its EventResync makes up for what was missed.
func listen(ctx context.Context, k Kernel, matters func(Event) bool, changed chan<- struct{}, broken func(error)) error {
	for {
		err := k.Watch(ctx, func(e Event) {
			if matters(e) {
				select {
				case changed <- struct{}{}:
				default: // a token is waiting already
				}
			}
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		broken(err)
		pause(ctx, firstBackoff)
	}
}

// pause waits, or returns early when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
