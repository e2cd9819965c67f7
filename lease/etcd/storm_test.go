package etcd

import (
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
	"weft/lease/leasetest"
)

func TestWhatIsAStorm(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name  string
		n     int
		apart time.Duration
		want  bool
	}{
		{"ten at once", stormMessages, 0, true},
		{"nine", stormMessages - 1, 0, false},
		{"ten, slowly", stormMessages, stormWithin / (stormMessages - 2), false},
	} {
		var w storm
		at := now
		for range c.n {
			w.note(at)
			at = at.Add(c.apart)
		}
		if got := w.rages(at.Add(-c.apart)); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
	for _, records := range []int{0, 3, 200, 5000} {
		var w storm
		for i := range 20 {
			first := min(longestCalm, max(leastCalm, time.Duration(records)*calmPerRecord))
			most := min(longestCalm, first<<i)
			if p := w.pause(records); p < most/2 || p > most {
				t.Errorf("%d records, pause %d is %v, want up to %v", records, i, p, most)
			}
		}
	}
}

// TestAFollowerThroughAStorm: hundreds of changes
// arrive, the last one included, and each snapshot is newer than the one before.
func TestAFollowerThroughAStorm(t *testing.T) {
	t.Parallel()
	s := open(t, Options{Endpoints: []string{leasetest.Etcd(t)}})
	if err := s.SetConfig(t.Context(), []byte(`{"Network":"10.0.0.0/8"}`)); err != nil {
		t.Fatal(err)
	}
	c := admin(t, s.opts)
	put := func(i, host int) {
		t.Helper()
		_, err := c.Put(t.Context(), fmt.Sprintf("%s/subnets/10.1.%d.0-24", DefaultPrefix, i),
			fmt.Sprintf(`{"PublicIP":"192.0.%d.%d","PublicIPv6":null}`, 2+host, i))
		if err != nil {
			t.Fatal(err)
		}
	}
	const hosts = 220
	for i := range hosts {
		put(i, 0)
	}
	f := follow(t, s)
	wait(t, f, func(s *lease.Snapshot) bool { return len(s.Leases) == hosts })
	for i := range 2 * hosts {
		put(i%hosts, 1+i/hosts)
	}
	resp, err := c.Get(t.Context(), DefaultPrefix+"/config", clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	snap := wait(t, f, func(s *lease.Snapshot) bool { return s.Revision == resp.Header.Revision })
	for _, l := range snap.Leases {
		if l.Attrs.PublicIP.As4()[2] != 4 {
			t.Fatalf("%s is of %s: not the last change", l.Subnet, l.Attrs.PublicIP)
		}
	}
	// And a change afterwards, in calm weather, is not forgotten.
	put(7, 9)
	wait(t, f, func(s *lease.Snapshot) bool {
		return s.Leases[7].Attrs.PublicIP.As4()[2] == 11 && len(s.Leases) == hosts
	})
}
