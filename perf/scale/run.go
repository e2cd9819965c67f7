package scale

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"time"

	"weft/lease"
	"weft/lease/etcd"
	"weft/perf"
)

// networkConfig has 65,535 subnets, MostHosts and some to spare.
const networkConfig = `{"Network":"10.0.0.0/8","SubnetLen":24,"Backend":{"Type":"udp"}}`

// guestPrefix is where a run works in an etcd that isn't its own.
const guestPrefix = "/weft-bench-leases/"

// A run is one measurement under way.
type run struct {
	o        Options
	result   *Result
	server   *server // nil in somebody else's etcd
	store    etcd.Options
	observer *observer
	crowd    *crowd
	probes   []*probe
	sofar    map[*probe][]time.Duration // times of the changes
}

// Run measures. It ends everything that it started on every way out; the result is there beside an
// error when at least the start was measured.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	r := &run{o: o, sofar: map[*probe][]time.Duration{}}
	r.result = &Result{Host: o.Host, Date: time.Now().UTC().Truncate(time.Second), Hosts: o.Hosts,
		PerConnection: o.PerConnection, Connections: o.connections()}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := r.open(ctx)
	if err == nil {
		observing := make(chan struct{})
		go func() {
			defer close(observing)
			if err := r.observer.run(ctx); err != nil {
				cancel(err)
			}
		}()
		err = r.measure(ctx)
		cancel(nil)
		<-observing
	}
	err = errors.Join(err, r.close())
	if len(r.result.Starts) == 0 {
		return nil, err
	}
	return r.result, err
}

// open starts or finds etcd, and writes the network config.
func (r *run) open(ctx context.Context) error {
	var err error
	if r.result.Background, err = perf.Busy(ctx, time.Second); err != nil {
		return err
	}
	r.store = etcd.Options{Endpoints: r.o.Endpoints, Prefix: fmt.Sprintf("%s%d", guestPrefix, rand.Uint64())}
	r.result.Etcd = strings.Join(r.o.Endpoints, ",")
	if len(r.o.Endpoints) == 0 {
		if r.server, err = startServer(ctx, r.o); err != nil {
			return err
		}
		r.store = etcd.Options{Endpoints: []string{r.server.endpoint}, Prefix: etcd.DefaultPrefix}
		r.result.Etcd, r.result.Preferred = r.server.name, r.server.preferred
	}
	if r.observer, err = newObserver(r.store.Endpoints, r.store.Prefix+"/"); err != nil {
		return err
	}
	store, err := etcd.New(r.store)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.SetConfig(ctx, []byte(networkConfig)); err != nil {
		return err
	}
	r.o.say("%d agents over %d connections, %s at %s; other programs use %.0f %% of the cores",
		r.o.Hosts, r.o.connections(), r.result.Etcd, r.store.Endpoints[0], 100*r.result.Background)
	return nil
}

// close ends whatever is still there.
func (r *run) close() error {
	var errs []error
	for _, p := range r.probes {
		p.in.Close()
		p.stop()
		p.reading.Wait()
	}
	if r.crowd != nil {
		errs = append(errs, r.crowd.stop())
	}
	if r.observer != nil {
		if r.server == nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			errs = append(errs, r.observer.erase(ctx))
			cancel()
		}
		if err := r.observer.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, err)
		}
	}
	if r.server != nil {
		errs = append(errs, r.server.close())
	}
	return errors.Join(errs...)
}

// measure goes through the phases.
func (r *run) measure(ctx context.Context) error {
	empty := inUse()
	if err := r.start(ctx, "all start at once", nil); err != nil {
		return err
	}
	if now := inUse(); now > empty {
		r.result.Memory.PerAgent = (now - empty) / uint64(r.o.Hosts)
	}
	for i := range r.o.Probes {
		p, err := startProbe(r.o, Job{Endpoints: r.store.Endpoints, Prefix: r.store.Prefix, Host: r.o.Hosts + i})
		if err != nil {
			return err
		}
		r.probes = append(r.probes, p)
	}
	all := r.o.Hosts + r.o.Probes
	err := poll(ctx, r.o, "probes join", func() bool {
		for _, p := range r.probes {
			if p.latest().Count != all {
				return false
			}
		}
		return r.settled()
	}, func() string { return fmt.Sprintf("%d of %d leases", r.probes[0].latest().Count, all) })
	if err != nil {
		return err
	}
	for _, phase := range []func(context.Context) error{r.idle, r.change, r.renew, r.restart, r.finish} {
		if err := phase(ctx); err != nil {
			return err
		}
	}
	r.result.Memory.Peak = peakMemory()
	return nil
}

// inUse is what this process has in use, in bytes, after a collection.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// settled reports whether every agent has applied the last change, and none has come for a while.
func (r *run) settled() bool {
	return r.observer.quiet(300*time.Millisecond) && r.crowd.arrivals.behind(r.observer.revision.Load()) == 0
}

// measured runs a phase between two looks at etcd's counters.
func (r *run) measured(ctx context.Context, phase func() error) (Load, error) {
	before, err := readCounters(ctx, r.store.Endpoints[0])
	if err != nil {
		return Load{}, err
	}
	if err := phase(); err != nil {
		return Load{}, err
	}
	after, err := readCounters(ctx, r.store.Endpoints[0])
	if err != nil {
		return Load{}, err
	}
	r.result.Server = after.footprint()
	return after.since(before), nil
}

// start makes a crowd, sets it off, and waits until everyone has a lease and knows everyone's.
func (r *run) start(ctx context.Context, name string, previous []lease.Lease) error {
	var err error
	if r.crowd, err = newCrowd(r.o, r.store, previous); err != nil {
		return err
	}
	c := r.crowd
	s := Start{Name: name}
	var began time.Time
	s.Load, err = r.measured(ctx, func() error {
		began = c.start(ctx)
		err := poll(ctx, r.o, name, func() bool { return c.holding() == r.o.Hosts }, func() string {
			return fmt.Sprintf("%d of %d have a lease", c.holding(), r.o.Hosts)
		})
		if err != nil {
			return err
		}
		return poll(ctx, r.o, name, r.settled, func() string {
			return fmt.Sprintf("all have a lease, %d don't know all others yet", c.arrivals.behind(r.observer.revision.Load()))
		})
	})
	if err != nil {
		return err
	}
	var took []time.Duration
	for _, a := range c.agents {
		took = append(took, time.Duration(a.held.Load()))
		s.Retries += int(a.retries.Load())
	}
	s.Acquired = spreadOf("lease acquired", took)
	s.Converged = c.arrivals.last().Sub(began).Seconds()
	s.Load.Seconds = s.Converged
	r.result.Starts = append(r.result.Starts, s)
	r.o.say("%s: leases after p50 %.0f ms, p99 %.0f ms, max %.0f ms; everyone knows everyone after %.1f s; etcd used %.1f s of CPU",
		name, s.Acquired.P50, s.Acquired.P99, s.Acquired.Max, s.Converged, s.Load.CPU)
	r.check(name+": every agent has a subnet of its own", distinct(c.leases()), "")
	return nil
}

// check notes what must hold: that got is what is wanted, and empty.
func (r *run) check(name, wrong, fine string) {
	c := Check{Name: name, OK: wrong == "", Got: wrong}
	if c.OK {
		c.Got = fine
	}
	r.result.Checks = append(r.result.Checks, c)
}

// distinct returns what is wrong with the leases of different hosts; empty if nothing is.
func distinct(leases []lease.Lease) string {
	owner := map[string]int{}
	for i, l := range leases {
		if !l.Subnet.IsValid() {
			return fmt.Sprintf("agent %d has none", i)
		}
		if other, twice := owner[l.Subnet.String()]; twice {
			return fmt.Sprintf("agents %d and %d both have %s", other, i, l.Subnet)
		}
		owner[l.Subnet.String()] = i
	}
	return ""
}
