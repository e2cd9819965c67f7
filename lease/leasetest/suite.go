package leasetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"weft/lease"
)

// A Network is one network in the store under test, empty at first, and what a case does to it
// behind its hosts' backs.
type Network struct {
	Open      func(t *testing.T) lease.Store             // a store of its own, closed with the test
	SetConfig func(t *testing.T, config string)          // valid or not; "" deletes it
	Put       func(t *testing.T, name, value string)     // a record without expiry
	Delete    func(t *testing.T, name string)            // a record, whosever
	Value     func(t *testing.T, name string) (v string) // a record's value; "" if there is none
}

// Run asserts the contract of lease.Store. open makes an empty network; it is called once for each
// case.
func Run(t *testing.T, open func(t *testing.T) Network) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Network)
	}{
		{"no config", noConfig},
		{"broken config", brokenConfig},
		{"acquire in order of preference", preference},
		{"same host gets its lease again", again},
		{"v6-only hosts keep apart", v6only},
		{"dual stack", dualStack},
		{"renew", renew},
		{"renewal is fenced", renewalFenced},
		{"a takeover ends the earlier tenure", takeover},
		{"release", release},
		{"reservations stay reservations", reservations},
		{"exhausted", exhausted},
		{"fifty hosts race for fifty subnets", race},
		{"junk is skipped alone", junk},
		{"a junk key exhausts nothing", junkExhaustsNothing},
		{"watch yields whole snapshots", watchWhole},
		{"revisions rise", revisionsRise},
		{"config changes are seen", configChanges},
		{"watch ends with its context", watchEnds},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// Configs of the cases.
const (
	config16   = `{"Network":"10.5.0.0/16"}`
	configFour = `{"Network":"10.5.0.0/22"}` // subnets 10.5.1.0, 10.5.2.0 and 10.5.3.0
	configDual = `{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`
	configV6   = `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`
)

// host describes the nth host, by its IPv4 address.
func host(n int) lease.Request {
	return lease.Request{Attrs: lease.Attrs{PublicIP: netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)})}}
}

// host6 describes the nth v6-only host.
func host6(n int) lease.Request {
	ip := [16]byte{0xfd, 0x99, 14: byte(n >> 8), 15: byte(n)}
	return lease.Request{Attrs: lease.Attrs{PublicIPv6: netip.AddrFrom16(ip)}}
}

// limit is how long anything in the suite may take: never reached where the store is right.
const limit = 30 * time.Second

func acquire(t *testing.T, s lease.Store, r lease.Request) lease.Lease {
	t.Helper()
	l, err := s.Acquire(t.Context(), r)
	if err != nil {
		t.Fatalf("acquiring for %s: %v", r.Attrs.PublicIP, err)
	}
	return l
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// snapshot returns what a new watch yields first.
func snapshot(t *testing.T, s lease.Store) *lease.Snapshot {
	t.Helper()
	return await(t, s, func(*lease.Snapshot) bool { return true })
}

// await watches until a snapshot is as the case wants it.
func await(t *testing.T, s lease.Store, done func(*lease.Snapshot) bool) *lease.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var last, found *lease.Snapshot
	err := s.Watch(ctx, func(s *lease.Snapshot) {
		last = s
		if found == nil && done(s) {
			found = s
			cancel()
		}
	})
	if found == nil {
		t.Fatalf("watch ended with %v at %+v", err, last)
	}
	return found
}

// find returns the lease of a subnet.
func find(s *lease.Snapshot, subnets lease.Subnets) (lease.Lease, bool) {
	for _, l := range s.Leases {
		if l.Subnets() == subnets {
			return l, true
		}
	}
	return lease.Lease{}, false
}

// wantValue compares a record with what flannel would have written.
func wantValue(t *testing.T, n Network, l lease.Lease, want string) {
	t.Helper()
	if got := n.Value(t, lease.Key(l.Subnets())); got != want {
		t.Errorf("record of %s is %q, want %q", l.Subnets(), got, want)
	}
}

func valueOf(r lease.Request) string {
	v, err := lease.EncodeValue(r.Attrs)
	if err != nil {
		return fmt.Sprintf("%v", err)
	}
	return string(v)
}
