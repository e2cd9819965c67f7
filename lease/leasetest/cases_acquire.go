package leasetest

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"weft/lease"
)

func noConfig(t *testing.T, n Network) {
	s := n.Open(t)
	_, err := s.Config(t.Context())
	wantErr(t, "config", err, lease.ErrNoConfig)
	_, err = s.Acquire(t.Context(), host(1))
	wantErr(t, "acquiring", err, lease.ErrNoConfig)
	wantErr(t, "snapshot", snapshot(t, s).ConfigErr, lease.ErrNoConfig)
}

func brokenConfig(t *testing.T, n Network) {
	n.SetConfig(t, `{"Network":"10.5.0.0/16","SubnetLen":8}`)
	s := n.Open(t)
	_, wantText := lease.ParseConfig([]byte(`{"Network":"10.5.0.0/16","SubnetLen":8}`))
	for what, err := range map[string]error{
		"config":    func() error { _, err := s.Config(t.Context()); return err }(),
		"acquiring": func() error { _, err := s.Acquire(t.Context(), host(1)); return err }(),
		"snapshot":  snapshot(t, s).ConfigErr,
	} {
		if err == nil || errors.Is(err, lease.ErrNoConfig) || !contains(err.Error(), wantText.Error()) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func preference(t *testing.T, n Network) {
	n.SetConfig(t, config16)
	s := n.Open(t)
	r := host(1)
	r.Previous = netip.MustParsePrefix("10.5.200.0/24")
	first := acquire(t, s, r)
	if first.Subnet != r.Previous {
		t.Errorf("previous subnet was free, got %s", first.Subnet)
	}
	r.Previous = netip.MustParsePrefix("10.5.201.0/24")
	if l := acquire(t, s, r); l.Subnet != first.Subnet {
		t.Errorf("the lease of the own address is %s, got %s", first.Subnet, l.Subnet)
	}
	other := host(2)
	other.Previous = first.Subnet
	if l := acquire(t, s, other); l.Subnet == first.Subnet || !l.Subnet.IsValid() {
		t.Errorf("got %s, which is taken", l.Subnet)
	}
	for i, unfit := range []string{"10.5.0.0/24", "10.5.9.0/25", "10.6.1.0/24", "10.5.0.0/16"} {
		r := host(10 + i)
		r.Previous = netip.MustParsePrefix(unfit)
		if l := acquire(t, s, r); l.Subnet == r.Previous || l.Subnet.Bits() != 24 {
			t.Errorf("got %s although the config doesn't hand it out", l.Subnet)
		}
	}
}

func again(t *testing.T, n Network) {
	n.SetConfig(t, config16)
	r := host(1)
	r.Attrs.BackendType, r.Attrs.BackendData = "vxlan", []byte(`{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}`)
	first := acquire(t, n.Open(t), r)
	wantValue(t, n, first, `{"PublicIP":"192.0.0.1","PublicIPv6":null,"BackendType":"vxlan",`+
		`"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}`)
	r.Attrs = lease.Attrs{PublicIP: r.Attrs.PublicIP}
	second := acquire(t, n.Open(t), r)
	if second.Subnet != first.Subnet || second.Revision <= first.Revision {
		t.Errorf("had %+v, got %+v", first, second)
	}
	wantValue(t, n, second, `{"PublicIP":"192.0.0.1","PublicIPv6":null}`)
	if got := len(snapshot(t, n.Open(t)).Leases); got != 1 {
		t.Errorf("%d leases of one host", got)
	}
}

// v6only: upstream compares IPv4 addresses alone, and those are 0.0.0.0 on all of these hosts.
func v6only(t *testing.T, n Network) {
	n.SetConfig(t, configV6)
	s := n.Open(t)
	one, two := acquire(t, s, host6(1)), acquire(t, s, host6(2))
	if one.Subnet6 == two.Subnet6 || one.Subnet.IsValid() || one.Subnet6.Bits() != 64 {
		t.Errorf("%s and %s", one.Subnets(), two.Subnets())
	}
	if l := acquire(t, n.Open(t), host6(1)); l.Subnet6 != one.Subnet6 {
		t.Errorf("had %s, got %s", one.Subnet6, l.Subnet6)
	}
	if s := snapshot(t, s); len(s.Leases) != 2 || len(s.Problems) != 0 {
		t.Errorf("snapshot %+v", s)
	}
}

func dualStack(t *testing.T, n Network) {
	n.SetConfig(t, config16)
	s := n.Open(t)
	old := acquire(t, s, host(1))
	n.SetConfig(t, configDual)
	l := acquire(t, s, host(1))
	if l.Subnet != old.Subnet || !l.Subnet6.IsValid() {
		t.Errorf("had %s, got %s: the IPv4 subnet must stay", old.Subnets(), l.Subnets())
	}
	r := host(2)
	r.Previous6 = netip.MustParsePrefix("fd00:5:0:77::/64")
	other := acquire(t, s, r)
	if other.Subnet6 != r.Previous6 || other.Subnet == l.Subnet {
		t.Errorf("got %s", other.Subnets())
	}
	snap := snapshot(t, s)
	if len(snap.Leases) != 2 || len(snap.Problems) != 0 {
		t.Errorf("snapshot %+v", snap)
	}
	// Back to one family: peers go on with the half that there is a network for.
	n.SetConfig(t, config16)
	if got, ok := find(snapshot(t, s), lease.Subnets{V4: l.Subnet}); !ok {
		t.Errorf("the IPv4 half of %s is gone: %+v", l.Subnets(), got)
	}
	if _, err := s.Renew(t.Context(), l); err != nil {
		t.Errorf("renewing the dual-stack lease: %v", err)
	}
}

func exhausted(t *testing.T, n Network) {
	n.SetConfig(t, configFour)
	s := n.Open(t)
	var last lease.Lease
	for i := range 3 {
		last = acquire(t, s, host(i+1))
	}
	_, err := s.Acquire(t.Context(), host(9))
	wantErr(t, "fourth of three", err, lease.ErrExhausted)
	if err := s.Release(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if l := acquire(t, s, host(9)); l.Subnet != last.Subnet {
		t.Errorf("got %s, only %s was free", l.Subnet, last.Subnet)
	}
}

func race(t *testing.T, n Network) {
	const hosts = 50
	n.SetConfig(t, `{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.50.0"}`)
	stores := make([]lease.Store, 5) // hosts share connections, or the test is about sockets
	for i := range stores {
		stores[i] = n.Open(t)
	}
	leases, errs := make([]lease.Lease, hosts), make([]error, hosts)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range hosts {
		all.Go(func() {
			<-start
			leases[i], errs[i] = stores[i%len(stores)].Acquire(t.Context(), host(i+1))
		})
	}
	close(start)
	all.Wait()
	owner := map[netip.Prefix]int{}
	for i, l := range leases {
		if errs[i] != nil {
			t.Errorf("host %d: %v", i, errs[i])
			continue
		}
		if other, twice := owner[l.Subnet]; twice {
			t.Errorf("hosts %d and %d both have %s", i, other, l.Subnet)
		}
		owner[l.Subnet] = i
	}
	if s := snapshot(t, stores[0]); len(s.Leases) != hosts || len(s.Problems) != 0 {
		t.Errorf("%d leases, problems %v", len(s.Leases), s.Problems)
	}
}

func junkExhaustsNothing(t *testing.T, n Network) {
	n.SetConfig(t, configFour)
	for _, name := range []string{"0.0.0.0-0", "10.5.0.0-22", "10.0.0.0-8", "10.5.0.0-23"} {
		n.Put(t, name, valueOf(host(99)))
	}
	s := n.Open(t)
	for i := range 3 {
		acquire(t, s, host(i+1))
	}
	if snap := snapshot(t, s); len(snap.Leases) != 3 || len(snap.Problems) != 4 {
		t.Errorf("snapshot %+v", snap)
	}
	// A broken record inside the range does hold its key; its subnet isn't handed out.
	n.SetConfig(t, `{"Network":"10.6.0.0/22"}`)
	n.Put(t, "10.6.2.0-24", "junk")
	for i := range 2 {
		if l := acquire(t, s, host(50+i)); l.Subnet.String() == "10.6.2.0/24" {
			t.Errorf("%s was handed out over a record", l.Subnet)
		}
	}
	_, err := s.Acquire(t.Context(), host(60))
	wantErr(t, "no other is free", err, lease.ErrExhausted)
}

// aboutNow reports whether an expiry is what a store with any lease time would grant at present.
func aboutNow(expiry time.Time) error {
	left := time.Until(expiry)
	if left <= 0 || left > 25*time.Hour {
		return fmt.Errorf("expiry %s is %s away", expiry, left)
	}
	return nil
}
