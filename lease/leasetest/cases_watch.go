package leasetest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"weft/lease"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

// junk: upstream drops its whole view, and with it every route, for one record it can't read.
func junk(t *testing.T, n Network) {
	n.SetConfig(t, config16)
	s := n.Open(t)
	r := host(1)
	r.Previous = netip.MustParsePrefix("10.5.200.0/24") // away from the junk
	good := acquire(t, s, r)
	for name, value := range map[string]string{
		"hello":               valueOf(host(20)),
		"10.5.20.0/24":        valueOf(host(21)),
		"10.5.21.0-24":        "{not json",
		"10.5.22.0-24":        `{"PublicIP":7}`,
		"10.5.23.0-24":        `{}`,
		"10.5.24.0-24":        `{"PublicIP":"127.0.0.1"}`,
		"10.5.25.0-24":        `{"PublicIP":"224.0.0.5"}`,
		"10.5.26.0-24":        `{"PublicIP":"10.5.9.9"}`,
		"10.5.27.0-24":        valueOf(host(1)),
		"10.99.0.0-24":        valueOf(host(22)),
		"10.5.28.0-24":        `{"PublicIP":"192.0.0.23","X":"` + strings.Repeat("x", 20_000) + `"}`,
		string(halfKey(good)): valueOf(host(24)),
	} {
		n.Put(t, name, value)
	}
	snap := snapshot(t, s)
	if _, ok := find(snap, good.Subnets()); !ok || len(snap.Leases) != 1 {
		t.Errorf("leases: %+v", snap.Leases)
	}
	reasons := map[string]int{}
	for _, p := range snap.Problems {
		reasons[p.Reason]++
		if p.Key == "" || !contains(p.Detail, "delete") {
			t.Errorf("a problem without key or remedy: %+v", p)
		}
	}
	want := map[string]int{lease.BadKey: 2, lease.BadJSON: 2, lease.BadPublicIP: 4, lease.DuplicatePublicIP: 1,
		lease.OutOfRange: 1, lease.TooLong: 1, lease.Overlap: 1}
	if fmt.Sprint(reasons) != fmt.Sprint(want) {
		t.Errorf("reasons %v, want %v", reasons, want)
	}
	// Events are judged like the list.
	acquire(t, s, host(2))
	n.Put(t, "more-junk", "")
	await(t, s, func(s *lease.Snapshot) bool { return len(s.Leases) == 2 && len(s.Problems) == 13 })
}

// halfKey names a part of a lease's subnet.
func halfKey(l lease.Lease) string {
	return fmt.Sprintf("%s-%d", l.Subnet.Addr(), l.Subnet.Bits()+1)
}

// watchWhole: every snapshot is complete, whatever a case does at the same time.
func watchWhole(t *testing.T, n Network) {
	const hosts = 20
	n.SetConfig(t, config16)
	s := n.Open(t)
	stays := acquire(t, s, host(1))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var watching sync.WaitGroup
	watched := n.Open(t)
	done := make(chan struct{})
	watching.Go(func() {
		full := false
		watched.Watch(ctx, func(snap *lease.Snapshot) {
			if _, ok := find(snap, stays.Subnets()); !ok {
				t.Errorf("revision %d lacks a lease that was there all the time", snap.Revision)
			}
			if !slices.IsSortedFunc(snap.Leases, func(a, b lease.Lease) int { return a.Subnet.Compare(b.Subnet) }) {
				t.Errorf("revision %d is not sorted", snap.Revision)
			}
			if len(snap.Leases) == hosts && !full {
				full = true
				close(done)
			}
		})
	})
	for i := range hosts - 1 {
		acquire(t, s, host(i+2))
	}
	<-done
	cancel()
	watching.Wait()
}

func revisionsRise(t *testing.T, n Network) {
	n.SetConfig(t, config16)
	s := n.Open(t)
	l := acquire(t, s, host(1))
	last := int64(-1)
	await(t, n.Open(t), func(snap *lease.Snapshot) bool {
		if snap.Revision <= last {
			t.Errorf("revision %d came after %d", snap.Revision, last)
		}
		last = snap.Revision
		shown, ok := find(snap, l.Subnets())
		if !ok || shown.Revision != l.Revision || shown.Revision > snap.Revision {
			t.Errorf("revision %d shows %+v, wrote %+v", snap.Revision, shown, l)
		}
		if shown.Attrs.BackendType == "c" {
			return true
		}
		l.Attrs.BackendType = string(rune('a' + len(l.Attrs.BackendType)*2))
		if shown.Attrs.BackendType == "a" {
			l.Attrs.BackendType = "c"
		}
		var err error
		if l, err = s.Renew(t.Context(), l); err != nil {
			t.Error(err)
			return true
		}
		return false
	})
}

func configChanges(t *testing.T, n Network) {
	s := n.Open(t)
	step := 0
	await(t, n.Open(t), func(snap *lease.Snapshot) bool {
		switch {
		case step == 0 && snap.ConfigErr != nil:
			n.SetConfig(t, config16)
			step++
		case step == 1 && snap.ConfigErr == nil && snap.Config.SubnetLen == 24:
			acquire(t, s, host(1))
			step++
		case step == 2 && len(snap.Leases) == 1:
			n.SetConfig(t, `{"Network":"10.5.0.0/16","SubnetLen":26,"Backend":{"Type":"vxlan"}}`)
			step++
		case step == 3 && snap.Config.SubnetLen == 26 && snap.Config.BackendType == "vxlan":
			n.SetConfig(t, "{")
			step++
		case step == 4 && snap.ConfigErr != nil:
			if len(snap.Leases) != 1 {
				t.Errorf("a broken config took the leases away: %+v", snap)
			}
			n.SetConfig(t, "")
			step++
		case step == 5 && len(snap.Leases) == 1:
			return true
		}
		return false
	})
}

func watchEnds(t *testing.T, n Network) {
	s := n.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Watch(ctx, func(*lease.Snapshot) { cancel() })
	wantErr(t, "watching", err, context.Canceled)
	_, err = s.Acquire(ctx, host(1))
	wantErr(t, "acquiring afterwards", err, context.Canceled)
}
