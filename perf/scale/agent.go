package scale

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"weft/lease"
	"weft/lease/etcd"
)

// An agent is what `weft agent` runs of the lease layer.
type agent struct {
	store    *etcd.Store
	follower *lease.Follower
	keeper   *lease.Keeper
	arrival  *arrival

	since   time.Time
	held    atomic.Int64 // ns from since to the first lease; 0 before
	retries atomic.Int64
}

// A crowd is all agents, from one start to the next.
type crowd struct {
	agents   []*agent
	arrivals arrivals
	pool     *etcd.Pool
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// renewMargin is the agent's default, so that no renewal falls into a run unasked.
const renewMargin = time.Hour

// publicIP is the address of a host: TEST-NET addresses don't suffice for thousands, so these are of
// 100.64.0.0/10 (RFC 6598), which no network of a run contains and nothing is ever sent to.
func publicIP(host int) netip.Addr {
	return netip.AddrFrom4([4]byte{100, byte(64 + host>>16), byte(host >> 8), byte(host)})
}

// attrs is what an agent of type udp tells its peers: as the real one does, its remote checksums.
func attrs(host, version int) lease.Attrs {
	a := lease.Attrs{PublicIP: publicIP(host)}
	a.BackendData = fmt.Appendf(nil, `{"Weft":{"Version":%d,"Caps":1,"Port":8285}}`, version)
	return a
}

// newCrowd makes the agents. previous is what subnet.env would say, nil at the first start.
func newCrowd(o Options, server etcd.Options, previous []lease.Lease) (*crowd, error) {
	c := &crowd{arrivals: make(arrivals, o.Hosts), pool: etcd.NewPool(o.connections())}
	server.Pool = c.pool
	for i := range o.Hosts {
		store, err := etcd.New(server)
		if err != nil {
			return nil, err
		}
		a := &agent{store: store, follower: lease.NewFollower(store, nil), arrival: &c.arrivals[i]}
		request := lease.Request{Attrs: attrs(i, 1)}
		if previous != nil {
			request.Previous = previous[i].Subnet
		}
		a.keeper = lease.NewKeeper(lease.KeeperOptions{Store: store, Request: request,
			Margin: renewMargin, Snapshots: a.follower.Snapshots()})
		c.agents = append(c.agents, a)
	}
	return c, nil
}

// start sets all off at once, until stop.
func (c *crowd) start(ctx context.Context) time.Time {
	ctx, c.cancel = context.WithCancel(ctx)
	now := time.Now()
	for _, a := range c.agents {
		a.since = now
		// None of these ends but with ctx.
		c.running.Go(func() { a.keeper.Run(ctx) })
		c.running.Go(func() { a.follower.Run(ctx) })
		c.running.Go(func() { a.apply(ctx) })
		c.running.Go(func() { a.hold(ctx) })
	}
	return now
}

// stop ends all agents as SIGKILL would: no lease is given back.
func (c *crowd) stop() error {
	if c.cancel != nil {
		c.cancel()
	}
	c.running.Wait()
	for _, a := range c.agents {
		if err := a.store.Close(); err != nil {
			return err
		}
	}
	return c.pool.Close()
}

// apply takes each snapshot as the datapath would, and notes when.
func (a *agent) apply(ctx context.Context) {
	for version := uint64(0); ; {
		s, seen, err := a.follower.Snapshots().Next(ctx, version)
		if err != nil {
			return
		}
		version = seen
		a.follower.Applied(s.Revision)
		a.arrival.note(s.Revision)
	}
}

// hold notes when the agent first has a lease, and how often it failed to get one.
func (a *agent) hold(ctx context.Context) {
	for version := uint64(0); ; {
		t, seen, err := a.keeper.Tenures().Next(ctx, version)
		if err != nil {
			return
		}
		version = seen
		if t.Held {
			a.held.Store(int64(time.Since(a.since)))
			return
		}
		a.retries.Add(1)
	}
}

// holding counts the agents that have a lease.
func (c *crowd) holding() int {
	n := 0
	for _, a := range c.agents {
		if a.held.Load() != 0 {
			n++
		}
	}
	return n
}

// leases is what every agent holds now.
func (c *crowd) leases() []lease.Lease {
	all := make([]lease.Lease, len(c.agents))
	for i, a := range c.agents {
		t, _ := a.keeper.Tenures().Latest()
		all[i] = t.Lease
	}
	return all
}
