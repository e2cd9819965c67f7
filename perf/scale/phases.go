package scale

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"weft/lease"
)

// idleTime is how long the run looks at agents that have nothing to do.
const idleTime = 3 * time.Second

// idle measures a network in which nothing happens.
func (r *run) idle(ctx context.Context) error {
	var err error
	r.result.Idle, err = r.measured(ctx, func() error {
		select {
		case <-time.After(idleTime):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	if n := r.result.Idle.Requests["Range"]; err == nil && r.server != nil {
		wrong := ""
		if n > 0 {
			wrong = fmt.Sprintf("%.0f in %v", n, idleTime)
		}
		r.check("nothing is read while nothing changes", wrong, "0 reads")
	}
	return err
}

// Kinds of change, in the order they take turns.
var kinds = []string{"new lease", "changed attributes", "release"}

// mostReads is how many reads a change may cost, however many agents there are: the one who makes it
// looks at what is there.
const mostReads = 4

// change makes one change after the other, each when the last one has reached everyone.
func (r *run) change(ctx context.Context) error {
	took := map[string][]time.Duration{}
	var lastAgent []time.Duration
	var err error
	r.result.Load, err = r.measured(ctx, func() error {
		var extra lease.Lease
		for i := range r.o.Changes {
			kind := kinds[i%len(kinds)]
			times, err := r.one(ctx, i, kind, &extra)
			if err != nil {
				return fmt.Errorf("change %d, %s: %w", i+1, kind, err)
			}
			took[kind] = append(took[kind], times...)
			slowest := time.Duration(0)
			for _, t := range times {
				slowest = max(slowest, t)
			}
			lastAgent = append(lastAgent, slowest)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var all []time.Duration
	for _, kind := range kinds {
		all = append(all, took[kind]...)
		r.result.Changes = append(r.result.Changes, spreadOf(kind, took[kind]))
	}
	total := spreadOf("all changes", all)
	r.result.Changes = append(r.result.Changes, total, spreadOf("until the last agent", lastAgent))
	r.o.say("%d changes reached %d agents each: p50 %.0f ms, p99 %.0f ms, max %.0f ms", r.o.Changes, r.o.Hosts, total.P50, total.P99, total.Max)
	if r.server != nil {
		each := r.result.Load.Requests["Range"] / float64(r.o.Changes)
		fine := fmt.Sprintf("%.1f reads for a change, with %d agents following", each, r.o.Hosts)
		wrong := ""
		if each > mostReads {
			wrong = fine
		}
		r.check("a change costs no list at the agents", wrong, fine)
	}
	return nil
}

// one makes a change and returns how long each agent took to apply it, counted from before the first
// request of whoever makes it.
func (r *run) one(ctx context.Context, i int, kind string, extra *lease.Lease) ([]time.Duration, error) {
	// Changes that come close together are batched, and many a storm; these are to come alone.
	select {
	case <-time.After(250*time.Millisecond + rand.N(50*time.Millisecond)):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	maker := r.crowd.agents[rand.IntN(len(r.crowd.agents))]
	before := r.observer.revision.Load()
	began := time.Now()
	var err error
	switch kind {
	case "new lease":
		*extra, err = maker.store.Acquire(ctx, lease.Request{Attrs: attrs(MostHosts+i, 1)})
	case "changed attributes":
		maker.keeper.SetAttrs(attrs(int(r.index(maker)), i+2))
	default:
		err = maker.store.Release(ctx, *extra)
	}
	if err != nil {
		return nil, err
	}
	all := r.crowd.arrivals
	err = poll(ctx, r.o, "waiting for every agent", func() bool {
		now := r.observer.revision.Load()
		for _, p := range r.probes {
			if p.latest().Revision < now {
				return false
			}
		}
		return now > before && all.behind(now) == 0
	}, func() string { return fmt.Sprintf("%d are behind", all.behind(r.observer.revision.Load())) })
	if err != nil {
		return nil, err
	}
	times := make([]time.Duration, len(all))
	for j := range all {
		times[j] = time.Unix(0, all[j].at.Load()).Sub(began)
	}
	for _, p := range r.probes {
		r.sofar[p] = append(r.sofar[p], time.Unix(0, p.latest().At).Sub(began))
	}
	return times, nil
}

// index is an agent's number.
func (r *run) index(a *agent) int {
	for i, other := range r.crowd.agents {
		if other == a {
			return i
		}
	}
	return -1
}

// renewalsAtOnce keeps requests from waiting for each other so long that they time out.
const renewalsAtOnce = 128

// renew renews every agent's lease once, as fast as it goes: the price of a renewal.
func (r *run) renew(ctx context.Context) error {
	var err error
	leases := r.crowd.leases()
	r.result.Renewal, err = r.measured(ctx, func() error {
		g, renewing := errgroup.WithContext(ctx)
		g.SetLimit(renewalsAtOnce)
		for i, a := range r.crowd.agents {
			g.Go(func() error {
				_, err := a.store.Renew(renewing, leases[i])
				return err
			})
		}
		return g.Wait()
	})
	if err == nil {
		r.o.say("%d renewals in %.1f s; etcd used %.1f s of CPU", r.o.Hosts, r.result.Renewal.Seconds, r.result.Renewal.CPU)
	}
	return err
}

// restart ends all agents without a word and starts them again, with what subnet.env would say.
func (r *run) restart(ctx context.Context) error {
	before := r.crowd.leases()
	if err := r.crowd.stop(); err != nil {
		return err
	}
	r.crowd = nil
	if err := r.start(ctx, "all start again", before); err != nil {
		return err
	}
	wrong := ""
	for i, l := range r.crowd.leases() {
		if l.Subnet != before[i].Subnet {
			wrong = fmt.Sprintf("agent %d had %s and got %s", i, before[i].Subnet, l.Subnet)
		}
	}
	r.check("all start again: every agent has the subnet that it had", wrong, "")
	return nil
}

// finish ends the probes and sees that they knew everything.
func (r *run) finish(ctx context.Context) error {
	last, all := r.observer.revision.Load(), r.o.Hosts+r.o.Probes
	err := poll(ctx, r.o, "waiting for the probes", func() bool {
		for _, p := range r.probes {
			if p.latest().Revision < last {
				return false
			}
		}
		return true
	}, func() string { return fmt.Sprintf("they know revision %d of %d", r.probes[0].latest().Revision, last) })
	if err != nil {
		return err
	}
	wrong := ""
	for _, p := range r.probes {
		result, err := p.finish()
		if err != nil {
			return err
		}
		result.Changes = spreadOf("change to route table", r.sofar[p])
		r.result.Probes = append(r.result.Probes, result)
		if result.Leases != all {
			wrong = fmt.Sprintf("a probe knows %d of %d leases", result.Leases, all)
		}
	}
	r.check("an agent with nothing shared knows every lease", wrong, fmt.Sprintf("%d leases", all))
	return nil
}
