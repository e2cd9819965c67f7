package etcd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"weft/lease"
)

// crowd starts n keepers at once, over a few shared connections, and returns them. They end with
// the test.
func crowd(t *testing.T, o Options, n int) []*lease.Keeper {
	t.Helper()
	stores := make([]*Store, 8)
	for i := range stores {
		stores[i] = open(t, o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() { cancel(); all.Wait() })
	keepers := make([]*lease.Keeper, n)
	for i := range keepers {
		keepers[i] = lease.NewKeeper(lease.KeeperOptions{
			Store:   stores[i%len(stores)],
			Request: req(fmt.Sprintf("192.0.%d.%d", 2+i/250, 1+i%250)),
			Margin:  time.Hour,
		})
		all.Go(func() { keepers[i].Run(ctx) })
	}
	return keepers
}

// settle waits for the first tenure of a keeper that is as wanted.
func settle(t *testing.T, k *lease.Keeper, want func(lease.Tenure) bool) lease.Tenure {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for version := uint64(0); ; {
		v, next, err := k.Tenures().Next(ctx, version)
		if err != nil {
			last, _ := k.Tenures().Latest()
			t.Fatalf("%v at %+v", err, last)
		}
		if want(v) {
			return v
		}
		version = next
	}
}

func TestTwoHundredAgentsOnTwoHundredSubnets(t *testing.T) {
	const hosts = 200
	w := newWorld(t, `{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.200.0"}`)
	begun := time.Now()
	owner := map[netip.Prefix]int{}
	for i, k := range crowd(t, w.opts, hosts) {
		v := settle(t, k, func(v lease.Tenure) bool {
			if errors.Is(v.Err, lease.ErrExhausted) {
				t.Errorf("agent %d was told that the range is exhausted: %v", i, v.Err)
			}
			return v.Held
		})
		if other, twice := owner[v.Lease.Subnet]; twice {
			t.Errorf("agents %d and %d both have %s", i, other, v.Lease.Subnet)
		}
		owner[v.Lease.Subnet] = i
	}
	t.Logf("%d agents had a subnet after %s", len(owner), time.Since(begun))
	if s := wait(t, follow(t, open(t, w.opts)), func(*lease.Snapshot) bool { return true }); len(s.Leases) != hosts || len(s.Problems) != 0 {
		t.Errorf("%d leases, %v", len(s.Leases), s.Problems)
	}
}

func TestTwoHundredAgentsOnAHundredAndNinetyNineSubnets(t *testing.T) {
	const hosts = 200
	w := newWorld(t, `{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.199.0"}`)
	keepers := crowd(t, w.opts, hosts)
	var without *lease.Keeper
	var with lease.Tenure
	for _, k := range keepers {
		v := settle(t, k, func(v lease.Tenure) bool { return v.Held || errors.Is(v.Err, lease.ErrExhausted) })
		switch {
		case v.Held:
			with = v
		case without != nil:
			t.Error("two agents were told that the range is exhausted")
		default:
			without = k
		}
	}
	if without == nil {
		t.Fatal("nobody was told that the range is exhausted")
	}
	// It keeps trying: the first subnet that comes free is its.
	if err := open(t, w.opts).Release(t.Context(), with.Lease); err != nil {
		t.Fatal(err)
	}
	if v := settle(t, without, func(v lease.Tenure) bool { return v.Held }); v.Lease.Subnet != with.Lease.Subnet {
		t.Errorf("got %s, only %s was free", v.Lease.Subnet, with.Lease.Subnet)
	}
}

func TestDualStackHostsRace(t *testing.T) {
	// Keys differ in their first half, so that only a look at all of them tells that two hosts
	// chose the same second one.
	w := newWorld(t, `{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/58","IPv6SubnetLen":64}`)
	const hosts = 60 // of 63 IPv6 subnets
	owner := map[netip.Prefix]bool{}
	for _, k := range crowd(t, w.opts, hosts) {
		v := settle(t, k, func(v lease.Tenure) bool { return v.Held })
		if owner[v.Lease.Subnet] || owner[v.Lease.Subnet6] {
			t.Errorf("a part of %s is leased twice", v.Lease.Subnets())
		}
		owner[v.Lease.Subnet], owner[v.Lease.Subnet6] = true, true
	}
	if s := wait(t, follow(t, open(t, w.opts)), func(*lease.Snapshot) bool { return true }); len(s.Leases) != hosts || len(s.Problems) != 0 {
		t.Errorf("%d leases, %v", len(s.Leases), s.Problems)
	}
}

// TestAConfigThatChangesDuringARace: a host that acts by the old config must not make a lease under
// the new one.
func TestAConfigThatChangesDuringARace(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	s := open(t, w.opts)
	st, err := s.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.put(DefaultPrefix+"/config", `{"Network":"10.5.0.0/16","SubnetLen":26}`)
	client, err := s.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	value, err := lease.EncodeValue(attrs("192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	a := &acquisition{store: s, client: client, request: req("192.0.2.1"), value: string(value)}
	if _, err := a.attempt(t.Context(), st, lease.Candidates); !errors.Is(err, errRace) {
		t.Errorf("acting by the old config: %v", err)
	}
	a.abandon(t.Context())
	if l := w.acquire(req("192.0.2.1")); l.Subnet.Bits() != 26 {
		t.Errorf("got %s", l.Subnet)
	}
}
