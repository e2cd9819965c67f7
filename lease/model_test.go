package lease_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weft/lease"
	"weft/lease/leasetest"
)

// The model: a few agents share a few subnets, and everything that can happen to them happens, in
// any order. Leases are short, so that the hours that pass are few.
const (
	modelAgents = 3
	modelTTL    = 10 * time.Minute
	modelMargin = 2 * time.Minute
	modelConfig = `{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.2.0"}` // one too few
)

// A gate is an agent's way to the store, which can be cut.
type gate struct {
	lease.Store
	mu      sync.Mutex
	cut     bool
	watches map[int]context.CancelFunc
	next    int
}

var errCut = fmt.Errorf("%w: cut off", lease.ErrUnavailable)

func (g *gate) set(cut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut = cut
	for id, cancel := range g.watches {
		if cut {
			cancel()
			delete(g.watches, id)
		}
	}
}

func (g *gate) open() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut {
		return errCut
	}
	return nil
}

func (g *gate) Acquire(ctx context.Context, r lease.Request) (lease.Lease, error) {
	if err := g.open(); err != nil {
		return lease.Lease{}, err
	}
	return g.Store.Acquire(ctx, r)
}

func (g *gate) Renew(ctx context.Context, l lease.Lease) (lease.Lease, error) {
	if err := g.open(); err != nil {
		return l, err
	}
	return g.Store.Renew(ctx, l)
}

func (g *gate) Watch(ctx context.Context, yield func(*lease.Snapshot)) error {
	if err := g.open(); err != nil {
		return err
	}
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	g.mu.Lock()
	g.next++
	g.watches[g.next] = cancel
	g.mu.Unlock()
	if err := g.Store.Watch(limited, yield); ctx.Err() != nil || !errors.Is(err, context.Canceled) {
		return err
	}
	return errCut
}

// An agent is what a host runs: a follower and a keeper.
type agent struct {
	gate     *gate
	attrs    lease.Attrs
	follower *lease.Follower
	keeper   *lease.Keeper // nil: it isn't running
	stop     func()
}

func (a *agent) start(ctx context.Context) {
	if a.keeper != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	a.follower = lease.NewFollower(a.gate, nil)
	a.keeper = lease.NewKeeper(lease.KeeperOptions{Store: a.gate, Request: lease.Request{Attrs: a.attrs},
		Margin: modelMargin, Snapshots: a.follower.Snapshots()})
	var tasks sync.WaitGroup
	tasks.Go(func() { a.follower.Run(ctx) })
	tasks.Go(func() { a.keeper.Run(ctx) })
	a.stop = func() { cancel(); tasks.Wait() }
}

func (a *agent) kill() {
	if a.keeper != nil {
		a.stop()
		a.keeper = nil
	}
}

// believes returns the subnet that the agent takes for its own right now.
func (a *agent) believes() netip.Prefix {
	if a.keeper == nil {
		return netip.Prefix{}
	}
	t, _ := a.keeper.Tenures().Latest()
	if !t.Held || (!t.Lease.Expiry.IsZero() && !time.Now().Before(t.Lease.Expiry)) {
		return netip.Prefix{}
	}
	return t.Lease.Subnet
}

// A step is one thing that happens.
type step struct {
	What  string
	Agent int
	Third byte // of the subnet's address
	Wait  time.Duration
}

var steps = rapid.Custom(func(t *rapid.T) step {
	return step{
		What: rapid.SampledFrom([]string{"start", "start", "kill", "cut", "join", "away", "back", "wait", "wait",
			"delete", "junk", "reserve", "release", "attrs"}).Draw(t, "what"),
		Agent: rapid.IntRange(0, modelAgents-1).Draw(t, "agent"),
		Third: byte(rapid.IntRange(1, 2).Draw(t, "subnet")),
		Wait: rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second, modelTTL - modelMargin - time.Second,
			modelTTL - time.Second, modelTTL + time.Second}).Draw(t, "wait"),
	}
})

// A play is one run of the model.
type play struct {
	memory *leasetest.Memory
	agents [modelAgents]*agent
	broken []string
}

func (p *play) fail(format string, args ...any) {
	p.broken = append(p.broken, fmt.Sprintf(format, args...))
}

// do takes one step. An operator who writes over a record that a host believes in makes two
// believers by that alone, until the host hears of it; so those steps leave such subnets alone.
func (p *play) do(ctx context.Context, s step) {
	a := p.agents[s.Agent]
	subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, s.Third, 0}), 24)
	name := lease.Key(lease.Subnets{V4: subnet})
	believed := slices.ContainsFunc(p.agents[:], func(a *agent) bool { return a.believes() == subnet })
	switch {
	case s.What == "start":
		a.start(ctx)
	case s.What == "kill":
		a.kill()
	case s.What == "cut" || s.What == "join":
		a.gate.set(s.What == "cut")
	case s.What == "away":
		p.memory.SetDown(errAway)
	case s.What == "back":
		p.memory.SetDown(nil)
	case s.What == "wait":
		time.Sleep(s.Wait)
	case s.What == "attrs" && a.keeper != nil:
		changed := a.attrs
		changed.BackendType = fmt.Sprintf("t%d", s.Third)
		a.keeper.SetAttrs(changed)
	case s.What == "release" && a.keeper != nil:
		k := a.keeper
		a.kill()
		k.Release(ctx) // as --release-on-exit does; the store may be away, which is no fault here
	case believed:
	case s.What == "delete":
		p.memory.Delete(name)
	case s.What == "junk":
		p.memory.Put(name, "junk")
	case s.What == "reserve":
		p.memory.Put(name, fmt.Sprintf(`{"PublicIP":%q,"PublicIPv6":null}`, a.attrs.PublicIP))
	}
}

// check: nobody shares a belief.
func (p *play) check(after step) {
	synctest.Wait()
	owner := map[netip.Prefix]int{}
	for i, a := range p.agents {
		subnet := a.believes()
		if other, twice := owner[subnet]; twice && subnet.IsValid() {
			p.fail("after %+v agents %d and %d both believe in %s", after, other, i, subnet)
		}
		owner[subnet] = i
	}
}

// settle: once everything works again, all agents see the same, and what they believe is there.
func (p *play) settle(ctx context.Context) {
	p.memory.SetDown(nil)
	for _, a := range p.agents {
		a.gate.set(false)
	}
	time.Sleep(2 * time.Minute) // the longest wait after losses in a row
	p.check(step{What: "settling"})
	truth, cancel := context.WithCancel(ctx)
	var want *lease.Snapshot
	p.memory.Watch(truth, func(s *lease.Snapshot) { want = s; cancel() })
	synctest.Wait()
	for i, a := range p.agents {
		if a.keeper == nil {
			continue
		}
		got, _ := a.follower.Snapshots().Latest()
		if diff := cmp.Diff(names(want), names(got)); diff != "" {
			p.fail("agent %d sees (-truth)\n%s", i, diff)
		}
		t, _ := a.keeper.Tenures().Latest()
		mine := slices.ContainsFunc(want.Leases, func(l lease.Lease) bool {
			return l.Subnet == a.believes() && l.Attrs.PublicIP == a.attrs.PublicIP
		})
		if exhausted := errors.Is(t.Err, lease.ErrExhausted); mine == exhausted {
			p.fail("agent %d has %+v, the store %+v", i, t, want)
		}
	}
}

func names(s *lease.Snapshot) (out []string) {
	if s == nil {
		return nil
	}
	for _, l := range s.Leases {
		out = append(out, fmt.Sprintf("%s %s %s", l.Subnet, l.Attrs.PublicIP, l.Attrs.BackendType))
	}
	for _, p := range s.Problems {
		out = append(out, p.Key+" "+p.Reason)
	}
	return out
}

// TestNoTwoAgentsEverBelieveInOneSubnet is the promise of this package.
func TestNoTwoAgentsEverBelieveInOneSubnet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		script := rapid.SliceOfN(steps, 1, 40).Draw(rt, "script")
		var broken []string
		synctest.Test(t, func(t *testing.T) {
			p := &play{memory: leasetest.NewMemory(modelTTL)}
			p.memory.SetConfig([]byte(modelConfig))
			for i := range p.agents {
				p.agents[i] = &agent{attrs: attrs(fmt.Sprintf("192.0.2.%d", i+1)),
					gate: &gate{Store: p.memory, watches: map[int]context.CancelFunc{}}}
			}
			for _, s := range script {
				p.do(t.Context(), s)
				p.check(s)
			}
			p.settle(t.Context())
			for _, a := range p.agents {
				a.kill()
			}
			broken = p.broken
		})
		for _, b := range broken {
			rt.Error(b)
		}
	})
}
