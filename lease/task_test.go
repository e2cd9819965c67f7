package lease_test

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weft/lease"
	"weft/lease/leasetest"
)

const ttl = 24 * time.Hour

var errAway = errors.New("connection refused")

func attrs(ip string) lease.Attrs { return lease.Attrs{PublicIP: netip.MustParseAddr(ip)} }

// run starts a task for the time of the test's bubble.
func run(t *testing.T, task interface{ Run(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- task.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s ended with %v", task, err)
		}
	})
}

func network(config string) *leasetest.Memory {
	m := leasetest.NewMemory(ttl)
	m.SetConfig([]byte(config))
	return m
}

func TestFollowerOutlivesItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := network(`{"Network":"10.5.0.0/16"}`)
		m.SetDown(errAway)
		f := lease.NewFollower(m, nil)
		seed := &lease.Snapshot{Revision: 1000}
		f.Seed(seed)
		run(t, f)
		time.Sleep(10 * time.Minute)
		if s, _ := f.Snapshots().Latest(); s != seed {
			t.Errorf("while the store is away: %+v", s)
		}
		if st := f.Status(); st.Connected || !errors.Is(st.Err, errAway) || !errors.Is(st.Err, lease.ErrUnavailable) {
			t.Errorf("status %+v", st)
		}
		// 1 to 2 seconds between attempts: quiet, and still back within two seconds.
		if calls := m.Calls(); calls < 300 || calls > 700 {
			t.Errorf("%d attempts in ten minutes", calls)
		}
		m.SetDown(nil)
		time.Sleep(2 * time.Second)
		s, _ := f.Snapshots().Latest()
		if s == seed || !f.Status().Connected || f.Status().Err != nil {
			t.Errorf("two seconds after the return: %+v, %+v", s, f.Status())
		}
		f.Seed(seed)
		if again, _ := f.Snapshots().Latest(); again != s {
			t.Error("a seed replaced what the store said")
		}
		f.Applied(s.Revision)
		if st := f.Status(); st.Applied != s.Revision || st.Revision != s.Revision {
			t.Errorf("status %+v", st)
		}
		if _, err := m.Acquire(t.Context(), lease.Request{Attrs: attrs("192.0.2.1")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s, _ := f.Snapshots().Latest(); len(s.Leases) != 1 {
			t.Errorf("a change didn't arrive: %+v", s)
		}
	})
}

// patient is a store whose Watch sits an outage through, as etcd's client does.
type patient struct {
	*leasetest.Memory
	broken atomic.Pointer[error]
}

func (p *patient) Reachable(context.Context) error {
	if err := p.broken.Load(); err != nil {
		return *err
	}
	return nil
}

func TestFollowerTellsOfAnOutageThatTheWatchSitsThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &patient{Memory: network(`{"Network":"10.5.0.0/16"}`)}
		f := lease.NewFollower(p, nil)
		run(t, f)
		time.Sleep(time.Minute + 500*time.Millisecond) // half-way between two looks
		began := f.Status().Since
		p.broken.Store(&errAway)
		time.Sleep(time.Second) // a connection that is only made anew is no outage
		p.broken.Store(nil)
		time.Sleep(time.Minute)
		if st := f.Status(); !st.Connected || st.Since != began {
			t.Errorf("after a blink: %+v", st)
		}
		p.broken.Store(&errAway)
		time.Sleep(3 * time.Second)
		if st := f.Status(); st.Connected || !errors.Is(st.Err, errAway) || time.Since(st.Since) > 3*time.Second {
			t.Errorf("three seconds into an outage: %+v", st)
		}
		calls := p.Calls()
		p.broken.Store(nil)
		time.Sleep(time.Second)
		if st := f.Status(); !st.Connected || st.Err != nil || p.Calls() != calls {
			t.Errorf("a second after it: %+v, %d requests", st, p.Calls()-calls)
		}
	})
}

// tenure waits for the bubble to settle and returns the keeper's state.
func tenure(k *lease.Keeper) lease.Tenure {
	synctest.Wait()
	v, _ := k.Tenures().Latest()
	return v
}

func TestKeeperWaitsForTheConfigAndRenewsAtTheMargin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := leasetest.NewMemory(ttl)
		k := lease.NewKeeper(lease.KeeperOptions{Store: m, Margin: time.Hour,
			Request: lease.Request{Attrs: attrs("192.0.2.1"), Previous: netip.MustParsePrefix("10.5.77.0/24")}})
		run(t, k)
		if v := tenure(k); v.Held || !errors.Is(v.Err, lease.ErrNoConfig) {
			t.Errorf("without a config: %+v", v)
		}
		m.SetConfig([]byte(`{"Network":"10.5.0.0/16"}`))
		time.Sleep(2 * time.Second)
		v := tenure(k)
		if !v.Held || v.Err != nil || v.Lease.Subnet.String() != "10.5.77.0/24" {
			t.Fatalf("with a config: %+v", v)
		}
		calls := m.Calls()
		time.Sleep(22 * time.Hour)
		if got := m.Calls() - calls; got != 0 {
			t.Errorf("%d requests before the margin", got)
		}
		time.Sleep(time.Hour)
		renewed := tenure(k)
		if got := m.Calls() - calls; got != 1 || !renewed.Lease.Expiry.After(v.Lease.Expiry.Add(20*time.Hour)) {
			t.Errorf("%d requests, %+v", got, renewed)
		}
		time.Sleep(30 * 24 * time.Hour)
		if last := tenure(k); !last.Held || time.Until(last.Lease.Expiry) < time.Hour-time.Minute {
			t.Errorf("after a month: %+v", last)
		}
	})
}

func TestKeeperTellsOfALossAndLeasesAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := network(`{"Network":"10.5.0.0/16"}`)
		f := lease.NewFollower(m, nil)
		k := lease.NewKeeper(lease.KeeperOptions{Store: m, Margin: time.Hour, Snapshots: f.Snapshots(),
			Request: lease.Request{Attrs: attrs("192.0.2.1")}})
		run(t, f)
		run(t, k)
		had := tenure(k).Lease
		m.Put(lease.Key(had.Subnets()), `{"PublicIP":"192.0.2.2","PublicIPv6":null}`)
		lost := tenure(k)
		if lost.Held || !errors.Is(lost.Err, lease.ErrLost) || lost.Lease.Subnet != had.Subnet {
			t.Errorf("right after the loss: %+v", lost)
		}
		time.Sleep(time.Second)
		now := tenure(k)
		if !now.Held || now.Lease.Subnet == had.Subnet {
			t.Errorf("a second after the loss: %+v", now)
		}
		m.Delete(lease.Key(now.Lease.Subnets())) // by mistake: nobody else took it
		time.Sleep(time.Second)
		if again := tenure(k); !again.Held || again.Lease.Subnet != now.Lease.Subnet {
			t.Errorf("the subnet was free again, got %+v", again)
		}
	})
}

func TestKeeperHoldsOnWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := network(`{"Network":"10.5.0.0/16"}`)
		k := lease.NewKeeper(lease.KeeperOptions{Store: m, Margin: time.Hour, Request: lease.Request{Attrs: attrs("192.0.2.1")}})
		run(t, k)
		had := tenure(k).Lease
		m.SetDown(errAway)
		time.Sleep(ttl - time.Minute)
		if v := tenure(k); !v.Held || !errors.Is(v.Err, lease.ErrUnavailable) || v.Lease.Expiry != had.Expiry {
			t.Errorf("before its expiry: %+v", v)
		}
		m.SetDown(nil)
		time.Sleep(2 * time.Second)
		if v := tenure(k); !v.Held || v.Err != nil || v.Lease.Subnet != had.Subnet || !v.Lease.Expiry.After(had.Expiry) {
			t.Errorf("after the store's return: %+v", v)
		}
		m.SetDown(errAway)
		time.Sleep(2 * ttl)
		m.SetDown(nil) // the record has expired meanwhile, and nobody took it
		time.Sleep(5 * time.Second)
		if v := tenure(k); !v.Held || v.Err != nil || v.Lease.Subnet != had.Subnet {
			t.Errorf("after two days: %+v", v)
		}
	})
}

func TestKeeperRewritesChangedAttributesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := network(`{"Network":"10.5.0.0/16"}`)
		k := lease.NewKeeper(lease.KeeperOptions{Store: m, Margin: time.Hour, Request: lease.Request{Attrs: attrs("192.0.2.1")}})
		run(t, k)
		had := tenure(k).Lease
		k.SetAttrs(attrs("192.0.2.9"))
		if v := tenure(k); !v.Held || v.Lease.Attrs.PublicIP.String() != "192.0.2.9" || v.Lease.Subnet != had.Subnet {
			t.Errorf("after SetAttrs: %+v", v)
		}
		if err := k.Release(t.Context()); err != nil {
			t.Error(err)
		}
		l, err := m.Acquire(t.Context(), lease.Request{Attrs: attrs("192.0.2.50"), Previous: had.Subnet})
		if err != nil || l.Subnet != had.Subnet {
			t.Errorf("the released subnet is not free: %+v, %v", l, err)
		}
	})
}

func TestKeeperAdoptsALeaseOfAnEarlierRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := network(`{"Network":"10.5.0.0/16"}`)
		had, err := m.Acquire(t.Context(), lease.Request{Attrs: attrs("192.0.2.1")})
		if err != nil {
			t.Fatal(err)
		}
		m.SetDown(errAway)
		o := lease.KeeperOptions{Store: m, Margin: time.Hour, Request: lease.Request{Attrs: attrs("192.0.2.1")}, Adopt: had}
		k := lease.NewKeeper(o)
		run(t, k)
		if v := tenure(k); !v.Held || v.Lease.Subnet != had.Subnet || !errors.Is(v.Err, lease.ErrUnavailable) {
			t.Errorf("while the store is away: %+v", v)
		}
		m.SetDown(nil)
		time.Sleep(2 * time.Second)
		if v := tenure(k); !v.Held || v.Err != nil || v.Lease.Subnet != had.Subnet {
			t.Errorf("after its return: %+v", v)
		}
		time.Sleep(2 * ttl) // this keeper renews; the adopted copy is old now
		m.SetDown(errAway)
		stale := lease.NewKeeper(o)
		run(t, stale)
		if v := tenure(stale); v.Held {
			t.Errorf("an expired lease was adopted: %+v", v)
		}
		m.SetDown(nil)
	})
}

// TestKeeperGivesUpWhatPeersRefuse: a record that is older overlaps, which only another program, or
// another config, can bring about.
func TestKeeperGivesUpWhatPeersRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := network(`{"Network":"10.5.0.0/16","SubnetLen":26}`)
		m.Put("10.5.4.0-23", `{"PublicIP":"10.5.0.1"}`) // refused itself, so that it holds no subnet yet
		f := lease.NewFollower(m, nil)
		k := lease.NewKeeper(lease.KeeperOptions{Store: m, Margin: time.Hour, Snapshots: f.Snapshots(),
			Request: lease.Request{Attrs: attrs("192.0.2.1"), Previous: netip.MustParsePrefix("10.5.9.64/26")}})
		run(t, f)
		run(t, k)
		had := tenure(k).Lease
		m.SetConfig([]byte(`{"Network":"10.6.0.0/16"}`))
		if v := tenure(k); !v.Held || v.Err == nil || v.Lease.Subnet != had.Subnet {
			t.Errorf("outside of the network by now: %+v", v)
		}
		m.SetConfig([]byte(`{"Network":"10.5.0.0/16"}`))
		if v := tenure(k); !v.Held || v.Err != nil {
			t.Errorf("inside again: %+v", v)
		}
		m.SetCreated("10.5.9.0-24", 1, `{"PublicIP":"192.0.2.2"}`)
		time.Sleep(time.Second)
		if v := tenure(k); !v.Held || v.Err != nil || v.Lease.Subnet.Overlaps(netip.MustParsePrefix("10.5.9.0/24")) {
			t.Errorf("after an older lease appeared: %+v", v)
		}
	})
}

// TestTwoAgentsWithOneAddress: they take the lease from each other, and must not do it in a spin.
func TestTwoAgentsWithOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := network(`{"Network":"10.5.0.0/16"}`)
		for range 2 {
			f := lease.NewFollower(m, nil)
			run(t, f)
			run(t, lease.NewKeeper(lease.KeeperOptions{Store: m, Margin: time.Hour, Snapshots: f.Snapshots(),
				Request: lease.Request{Attrs: attrs("192.0.2.1")}}))
		}
		time.Sleep(time.Hour)
		if calls := m.Calls(); calls > 2000 {
			t.Errorf("%d requests in an hour", calls)
		}
	})
}
