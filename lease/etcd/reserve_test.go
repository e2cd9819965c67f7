package etcd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/lease"
)

func reservation(t *testing.T, ip string, subnets ...string) lease.Reservation {
	t.Helper()
	r := lease.Reservation{}
	if a := netip.MustParseAddr(ip); a.Is4() {
		r.Attrs.PublicIP = a
	} else {
		r.Attrs.PublicIPv6 = a
	}
	for _, text := range subnets {
		if p := netip.MustParsePrefix(text); p.Addr().Is4() {
			r.Subnets.V4 = p
		} else {
			r.Subnets.V6 = p
		}
	}
	return r
}

// hangsOn returns the etcd lease of the key, and its value.
func (w *world) hangsOn(key string) (id int64, value string) {
	w.t.Helper()
	resp, err := w.admin.Get(w.t.Context(), key)
	if err != nil || len(resp.Kvs) != 1 {
		w.t.Fatalf("%s: %v, %v", key, resp, err)
	}
	return resp.Kvs[0].Lease, string(resp.Kvs[0].Value)
}

// TestReservationsOfEveryFamily: where the key is, that its host takes it and nobody else, and that
// it stays a reservation then.
func TestReservationsOfEveryFamily(t *testing.T) {
	for _, test := range []struct {
		name, config, ip string
		subnets          []string
		key              string
	}{
		{"v4", `{"Network":"10.5.0.0/16"}`, "192.0.2.7", []string{"10.5.7.0/24"}, "subnets/10.5.7.0-24"},
		{"v6 only", `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`, "2001:db8::7",
			[]string{"fd00:5:0:7::/64"}, "v6subnets/fd00:5:0:7::-64"},
		{"dual stack", `{"EnableIPv6":true,"Network":"10.5.0.0/16","IPv6Network":"fd00:5::/48"}`, "192.0.2.7",
			[]string{"10.5.7.0/24", "fd00:5:0:7::/64"}, "subnets/10.5.7.0-24&fd00:5:0:7::-64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.config)
			s := open(t, w.opts)
			r := reservation(t, test.ip, test.subnets...)
			done, err := s.Reserve(t.Context(), r)
			if err != nil || done.Already || done.Kept || done.Revision == 0 {
				t.Fatalf("%+v, %v", done, err)
			}
			if id, value := w.hangsOn(DefaultPrefix + "/" + test.key); id != 0 || !strings.Contains(value, test.ip) {
				t.Errorf("etcd has %q on lease %x", value, id)
			}
			if done, err = s.Reserve(t.Context(), r); err != nil || !done.Already {
				t.Errorf("once more: %+v, %v", done, err)
			}
			other := w.acquire(lease.Request{Attrs: attrs("192.0.2.8"), Previous: r.Subnets.V4, Previous6: r.Subnets.V6})
			if other.Subnet == r.Subnets.V4 && other.Subnet6 == r.Subnets.V6 {
				t.Errorf("another host got the reserved %s", other.Subnets())
			}
			a := r.Attrs
			a.BackendType = "vxlan"
			l := w.acquire(lease.Request{Attrs: a})
			if l.Subnets() != r.Subnets || !l.Reserved || !l.Expiry.IsZero() {
				t.Errorf("its host got %+v", l)
			}
			if id, value := w.hangsOn(DefaultPrefix + "/" + test.key); id != 0 || !strings.Contains(value, "vxlan") {
				t.Errorf("after its host came etcd has %q on lease %x", value, id)
			}
		})
	}
}

// TestReservingForARunningHost: its lease stops expiring where it is, with all that it says.
func TestReservingForARunningHost(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`)
	s := open(t, w.opts)
	f := follow(t, s)
	a := attrs("192.0.2.7")
	a.BackendType, a.BackendData = "vxlan", []byte(`{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}`)
	k := lease.NewKeeper(lease.KeeperOptions{Store: s, Request: lease.Request{Attrs: a}, Margin: time.Hour, Snapshots: f.Snapshots()})
	keep(t, k)
	held := settle(t, k, func(v lease.Tenure) bool { return v.Held })
	key := s.keys.lease(held.Lease.Subnets())
	_, before := w.hangsOn(key)
	done, err := s.Reserve(t.Context(), lease.Reservation{Subnets: held.Lease.Subnets(), Attrs: attrs("192.0.2.7")})
	if err != nil || !done.Kept {
		t.Fatalf("%+v, %v", done, err)
	}
	if id, value := w.hangsOn(key); id != 0 || value != before {
		t.Errorf("etcd has %q on lease %x, had %q", value, id, before)
	}
	v := settle(t, k, func(v lease.Tenure) bool { return v.Lease.Reserved || !v.Held })
	if !v.Held || v.Lease.Subnet != held.Lease.Subnet {
		t.Errorf("the host lost it: %+v", v)
	}
}

// keep runs a keeper for the time of the test.
func keep(t *testing.T, k *lease.Keeper) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// TestMovingAHostByForce: it finds its lease gone, and takes what is reserved for it.
func TestMovingAHostByForce(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	s := open(t, w.opts)
	f := follow(t, s)
	moved := lease.NewKeeper(lease.KeeperOptions{Store: s, Request: lease.Request{Attrs: attrs("192.0.2.7"), Previous: netip.MustParsePrefix("10.5.3.0/24")}, Margin: time.Hour, Snapshots: f.Snapshots()})
	robbed := lease.NewKeeper(lease.KeeperOptions{Store: s, Request: lease.Request{Attrs: attrs("192.0.2.8"), Previous: netip.MustParsePrefix("10.5.7.0/24")}, Margin: time.Hour, Snapshots: f.Snapshots()})
	keep(t, moved)
	keep(t, robbed)
	settle(t, moved, func(v lease.Tenure) bool { return v.Held })
	settle(t, robbed, func(v lease.Tenure) bool { return v.Held })

	r := reservation(t, "192.0.2.7", "10.5.7.0/24")
	_, err := s.Reserve(t.Context(), r)
	if f, ok := errors.AsType[*lease.Fault](err); !ok || f.Reason != lease.Leased {
		t.Fatalf("without force: %v", err)
	}
	r.Force = true
	done, err := s.Reserve(t.Context(), r)
	if err != nil || len(done.Ended) != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	v := settle(t, moved, func(v lease.Tenure) bool { return v.Held && v.Lease.Reserved })
	if v.Lease.Subnet != r.Subnets.V4 {
		t.Errorf("the host moved to %s", v.Lease.Subnet)
	}
	v = settle(t, robbed, func(v lease.Tenure) bool { return v.Held && v.Lease.Subnet != r.Subnets.V4 })
	if v.Lease.Reserved {
		t.Errorf("the other host got %+v", v.Lease)
	}
}

// TestReserveRacesAgents: reservations of every second subnet, while as many agents as there are
// subnets left start at once. Nothing gets two owners, and what was reserved stays so.
func TestReserveRacesAgents(t *testing.T) {
	const hosts, reserved = 20, 20
	w := newWorld(t, `{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.40.0"}`)
	var all sync.WaitGroup
	made := make([]bool, reserved)
	operator := open(t, w.opts)
	for i := range reserved {
		all.Go(func() {
			_, err := operator.Reserve(t.Context(), reservation(t, fmt.Sprintf("192.0.9.%d", i+1), fmt.Sprintf("10.5.%d.0/24", 2*i+1)))
			f, refused := errors.AsType[*lease.Fault](err)
			if err != nil && (!refused || f.Reason != lease.Leased) {
				t.Errorf("reservation %d: %v", i, err)
			}
			made[i] = err == nil
		})
	}
	keepers := crowd(t, w.opts, hosts)
	all.Wait()
	for _, k := range keepers {
		settle(t, k, func(v lease.Tenure) bool { return v.Held || errors.Is(v.Err, lease.ErrExhausted) })
	}
	listing, err := operator.Look(t.Context())
	if err != nil || len(listing.Snapshot.Problems) != 0 {
		t.Fatalf("%v, %v", listing.Snapshot.Problems, err)
	}
	still := map[netip.Prefix]netip.Addr{}
	for _, l := range listing.Snapshot.Leases {
		if l.Reserved {
			still[l.Subnet] = l.Attrs.PublicIP
		}
	}
	for i, done := range made {
		subnet, host := netip.MustParsePrefix(fmt.Sprintf("10.5.%d.0/24", 2*i+1)), netip.MustParseAddr(fmt.Sprintf("192.0.9.%d", i+1))
		if owner, ok := still[subnet]; ok != done || ok && owner != host {
			t.Errorf("%s: reserved for %s: %t; etcd says %s", subnet, host, done, owner)
		}
	}
}

func TestRemoveIsFenced(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	s := open(t, w.opts)
	l := w.acquire(lease.Request{Attrs: attrs("192.0.2.7")})
	listing, err := s.Look(t.Context())
	if err != nil || len(listing.Records) != 1 {
		t.Fatalf("%+v, %v", listing, err)
	}
	seen := listing.Records[0]
	w.put(seen.Key, `{"PublicIP":"192.0.2.9","PublicIPv6":null}`)
	if err := s.Remove(t.Context(), seen); !errors.Is(err, ErrChanged) {
		t.Errorf("removing what has changed: %v", err)
	}
	if listing, err = s.Look(t.Context()); err != nil || len(listing.Records) != 1 {
		t.Fatalf("%+v, %v", listing, err)
	}
	if err := s.Remove(t.Context(), listing.Records[0]); err != nil {
		t.Error(err)
	}
	if err := s.Remove(t.Context(), listing.Records[0]); !errors.Is(err, ErrChanged) {
		t.Errorf("removing what has gone: %v", err)
	}
	if _, err := s.Details(t.Context(), s.keys.lease(l.Subnets())); !errors.Is(err, ErrChanged) {
		t.Errorf("details of what has gone: %v", err)
	}
}

func TestTimings(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	s := open(t, w.opts)
	for i := range 150 { // more than are asked for at once
		w.acquire(lease.Request{Attrs: attrs(fmt.Sprintf("192.0.2.%d", i+1))})
	}
	if _, err := s.Reserve(t.Context(), reservation(t, "192.0.9.9", freeSubnet(t, s))); err != nil {
		t.Fatal(err)
	}
	listing, err := s.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	timings, err := s.Timings(t.Context(), listing.Snapshot.Leases)
	if err != nil || len(timings) != 151 {
		t.Fatalf("%d timings, %v", len(timings), err)
	}
	for i, l := range listing.Snapshot.Leases {
		left, since := time.Until(timings[i].Expiry), time.Since(timings[i].Renewed)
		switch {
		case l.Reserved && timings[i] != Timing{}:
			t.Errorf("a reservation ends at %v", timings[i])
		case !l.Reserved && (left > DefaultTTL || left < DefaultTTL-time.Minute || since < 0 || since > time.Minute):
			t.Errorf("%s: %s left, renewed %s ago", l.Subnet, left, since)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Timings(ended, listing.Snapshot.Leases); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// freeSubnet returns one that nobody has.
func freeSubnet(t *testing.T, s *Store) string {
	t.Helper()
	listing, err := s.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	taken := &lease.Taken{}
	for _, l := range listing.Snapshot.Leases {
		taken.Add(l.Subnets())
	}
	for free := range listing.Snapshot.Config.Free(lease.Subnets{}, taken, 1) {
		return free.V4.String()
	}
	t.Fatal("none is free")
	return ""
}
