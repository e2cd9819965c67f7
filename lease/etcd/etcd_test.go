package etcd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
	"weft/lease/embedded"
	"weft/lease/leasetest"
	"weft/perf/netlab/labtest"
)

func attrs(ip string) lease.Attrs { return lease.Attrs{PublicIP: netip.MustParseAddr(ip)} }

// follow starts a follower for the time of the test, and waits for its first snapshot.
func follow(t *testing.T, s lease.Store) *lease.Follower {
	t.Helper()
	f := lease.NewFollower(s, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	wait(t, f, func(*lease.Snapshot) bool { return true })
	return f
}

// wait returns the first snapshot that is as wanted.
func wait(t *testing.T, f *lease.Follower, want func(*lease.Snapshot) bool) *lease.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for version := uint64(0); ; {
		s, v, err := f.Snapshots().Next(ctx, version)
		if err != nil {
			last, _ := f.Snapshots().Latest()
			t.Fatalf("%v at %+v, %+v", err, last, f.Status())
		}
		if want(s) {
			return s
		}
		version = v
	}
}

// TestBytesInEtcdAreFlannels compares with what etcdctl shows of a real flannel.
func TestBytesInEtcdAreFlannels(t *testing.T) {
	t.Parallel()
	endpoint := leasetest.Etcd(t)
	for _, setting := range []string{"udp", "host-gw", "vxlan-directrouting", "vxlan-dualstack"} {
		golden, err := os.ReadFile(filepath.Join("..", "testdata", "flannel", setting, "etcd.txt"))
		if err != nil {
			t.Fatal(err)
		}
		prefix := "/" + setting + "/network"
		s := open(t, Options{Endpoints: []string{endpoint}, Prefix: prefix})
		for line := range lines(string(golden)) {
			key, value := line[0], line[1]
			name, isLease := strings.CutPrefix(key, DefaultPrefix+"/subnets/")
			if !isLease {
				if err := s.SetConfig(t.Context(), []byte(value)); err != nil {
					t.Fatal(err)
				}
				continue
			}
			e := lease.Decode(key, name, []byte(value))
			l, err := s.Acquire(t.Context(), lease.Request{Attrs: e.Lease.Attrs, Previous: e.Named.V4, Previous6: e.Named.V6})
			if err != nil || l.Subnets() != e.Named {
				t.Fatalf("%s: got %s, %v", name, l.Subnets(), err)
			}
		}
		got := dump(t, admin(t, s.opts), prefix)
		if want := strings.ReplaceAll(strings.TrimSpace(string(golden)), DefaultPrefix, prefix); got != want {
			t.Errorf("%s: etcd has\n%s\nflannel wrote\n%s", setting, got, want)
		}
	}
}

// lines yields a dump's keys and values.
func lines(text string) func(func([2]string) bool) {
	rows := strings.Split(strings.TrimSpace(text), "\n")
	return func(yield func([2]string) bool) {
		for i := 0; i+1 < len(rows); i += 2 {
			if !yield([2]string{rows[i], rows[i+1]}) {
				return
			}
		}
	}
}

func dump(t *testing.T, c *clientv3.Client, prefix string) string {
	t.Helper()
	resp, err := c.Get(t.Context(), prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, kv := range resp.Kvs {
		fmt.Fprintf(&b, "%s\n%s\n", kv.Key, kv.Value)
	}
	return strings.TrimSpace(b.String())
}

func TestDebiansEtcdctlSeesAndChangesLeases(t *testing.T) {
	path := labtest.NeedProgram(t, "etcdctl", "etcd-client")
	endpoint := leasetest.Etcd(t)
	etcdctl := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), path, append([]string{"--endpoints", endpoint}, args...)...)
		cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("etcdctl %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	etcdctl("put", "/coreos.com/network/config", `{"Network":"10.5.0.0/16"}`)
	s := open(t, Options{Endpoints: []string{endpoint}})
	l, err := s.Acquire(t.Context(), lease.Request{Attrs: attrs("192.0.2.1")})
	if err != nil {
		t.Fatal(err)
	}
	key := "/coreos.com/network/subnets/" + lease.Key(l.Subnets())
	if got := etcdctl("get", "--prefix", "/coreos.com/network/subnets"); got != key+"\n"+`{"PublicIP":"192.0.2.1","PublicIPv6":null}` {
		t.Errorf("etcdctl shows %q", got)
	}
	f := follow(t, s)
	etcdctl("del", key)
	wait(t, f, func(s *lease.Snapshot) bool { return len(s.Leases) == 0 })
}

func TestLeasesLiveForADay(t *testing.T) {
	t.Parallel()
	s := open(t, Options{Endpoints: []string{leasetest.Etcd(t)}})
	if err := s.SetConfig(t.Context(), []byte(`{"Network":"10.5.0.0/16"}`)); err != nil {
		t.Fatal(err)
	}
	l, err := s.Acquire(t.Context(), lease.Request{Attrs: attrs("192.0.2.1")})
	if err != nil {
		t.Fatal(err)
	}
	c := admin(t, s.opts)
	tok, err := parseToken(l)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.TimeToLive(t.Context(), tok.id)
	if err != nil || resp.GrantedTTL != 86_400 {
		t.Errorf("granted %d s, %v", resp.GrantedTTL, err)
	}
	listed, err := s.List(t.Context())
	if err != nil || len(listed.Leases) != 1 || listed.Leases[0].Expiry.Sub(l.Expiry).Abs() > time.Minute {
		t.Errorf("listed %+v, %v", listed, err)
	}
	// Restarts take the record over; the etcd leases of earlier runs don't pile up.
	for range 5 {
		if _, err := s.Acquire(t.Context(), lease.Request{Attrs: attrs("192.0.2.1")}); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := c.Leases(t.Context()); err != nil || len(all.Leases) != 1 {
		t.Errorf("%d etcd leases of one host, %v", len(all.Leases), err)
	}
}

func TestAnExpiredLeaseIsLostAndGivenToAnother(t *testing.T) {
	t.Parallel()
	o := Options{Endpoints: []string{leasetest.Etcd(t)}, TTL: time.Second}
	s := open(t, o)
	if err := s.SetConfig(t.Context(), []byte(`{"Network":"10.5.0.0/22"}`)); err != nil {
		t.Fatal(err)
	}
	l, err := s.Acquire(t.Context(), lease.Request{Attrs: attrs("192.0.2.1")})
	if err != nil {
		t.Fatal(err)
	}
	f := follow(t, s)
	wait(t, f, func(s *lease.Snapshot) bool { return len(s.Leases) == 0 })
	if now := time.Now(); now.Before(l.Expiry) {
		t.Errorf("expired %s before the holder was told", l.Expiry.Sub(now))
	}
	if _, err := s.Renew(t.Context(), l); !errors.Is(err, lease.ErrLost) {
		t.Errorf("renewing: %v", err)
	}
	if other, err := s.Acquire(t.Context(), lease.Request{Attrs: attrs("192.0.2.2"), Previous: l.Subnet}); err != nil || other.Subnet != l.Subnet {
		t.Errorf("the other got %s, %v", other.Subnet, err)
	}
}

// TestEventsCompactedAway: the follower was cut off while etcd forgot what happened meanwhile.
func TestEventsCompactedAway(t *testing.T) {
	t.Parallel()
	s := open(t, Options{Endpoints: []string{leasetest.Etcd(t)}})
	if err := s.SetConfig(t.Context(), []byte(`{"Network":"10.5.0.0/16"}`)); err != nil {
		t.Fatal(err)
	}
	st, err := s.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var l lease.Lease
	for _, ip := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		if l, err = s.Acquire(t.Context(), lease.Request{Attrs: attrs(ip)}); err != nil {
			t.Fatal(err)
		}
	}
	c := admin(t, s.opts)
	if _, err := c.Compact(t.Context(), l.Revision); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.follow(ctx, st, func(*lease.Snapshot) {}); !errors.Is(err, errCompacted) {
		t.Errorf("following from revision %d, compacted to %d: %v", st.revision, l.Revision, err)
	}
	// Watch itself lists again: whoever watches notices nothing.
	if snap := wait(t, follow(t, s), func(*lease.Snapshot) bool { return true }); len(snap.Leases) != 3 {
		t.Errorf("snapshot %+v", snap)
	}
}

// TestTheStoreGoesAndReturns: upstream never recovers from it, or burns CPU meanwhile.
func TestTheStoreGoesAndReturns(t *testing.T) {
	t.Parallel()
	server := embedded.Options{DataDir: t.TempDir(),
		ListenClientURLs: []string{"http://" + leasetest.FreeAddr(t)},
		ListenPeerURLs:   []string{"http://" + leasetest.FreeAddr(t)}}
	s := open(t, Options{Endpoints: server.ListenClientURLs, Timeout: time.Second})
	if _, err := s.Config(t.Context()); !errors.Is(err, lease.ErrUnavailable) || !strings.Contains(err.Error(), server.ListenClientURLs[0]) {
		t.Errorf("before the server is there: %v", err)
	}
	stop := leasetest.StartEtcd(t, server)
	if err := s.SetConfig(t.Context(), []byte(`{"Network":"10.5.0.0/16"}`)); err != nil {
		t.Fatal(err)
	}
	f := follow(t, s)
	l, err := s.Acquire(t.Context(), lease.Request{Attrs: attrs("192.0.2.1")})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, f, func(s *lease.Snapshot) bool { return len(s.Leases) == 1 })
	stop()
	if _, err := s.Renew(t.Context(), l); !errors.Is(err, lease.ErrUnavailable) {
		t.Errorf("renewing without a server: %v", err)
	}
	if snap, _ := f.Snapshots().Latest(); len(snap.Leases) != 1 {
		t.Errorf("the outage took the leases away: %+v", snap)
	}
	leasetest.StartEtcd(t, server)
	back := time.Now()
	if _, err := s.Acquire(t.Context(), lease.Request{Attrs: attrs("192.0.2.2")}); err != nil {
		t.Fatal(err)
	}
	wait(t, f, func(s *lease.Snapshot) bool { return len(s.Leases) == 2 })
	t.Logf("followed again %s after the return", time.Since(back))
	if again, err := s.Renew(t.Context(), l); err != nil || again.Subnet != l.Subnet {
		t.Errorf("renewing after the return: %+v, %v", again, err)
	}
}

// TestManyPages: a list larger than one page is of one revision, and whole.
func TestManyPages(t *testing.T) {
	t.Parallel()
	s := open(t, Options{Endpoints: []string{leasetest.Etcd(t)}})
	c := admin(t, s.opts)
	const records = pageSize + 10
	for i := 0; i < records; i += 100 {
		var puts []clientv3.Op
		for j := i; j < min(i+100, records); j++ {
			puts = append(puts, clientv3.OpPut(fmt.Sprintf("%s/subnets/10.%d.%d.0-24", DefaultPrefix, j/256, j%256),
				fmt.Sprintf(`{"PublicIP":"192.%d.%d.1","PublicIPv6":null}`, j/256, j%256)))
		}
		if _, err := c.Txn(t.Context()).Then(puts...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	st, err := s.list(t.Context())
	if err != nil || len(st.records) != records {
		t.Errorf("%d records, %v", len(st.records), err)
	}
}

func TestConfigIsCheckedBeforeItIsWritten(t *testing.T) {
	s := open(t, Options{Endpoints: []string{leasetest.Etcd(t)}})
	if _, _, err := s.ConfigRaw(t.Context()); !errors.Is(err, lease.ErrNoConfig) || !strings.Contains(err.Error(), DefaultPrefix+"/config") {
		t.Errorf("without one: %v", err)
	}
	if err := s.SetConfig(t.Context(), []byte(`{"Network":"10.5.0.0/16","SubnetLen":8}`)); err == nil || !strings.HasPrefix(err.Error(), "config: SubnetLen 8") {
		t.Errorf("an invalid one: %v", err)
	}
	if _, _, err := s.ConfigRaw(t.Context()); !errors.Is(err, lease.ErrNoConfig) {
		t.Errorf("it was written all the same: %v", err)
	}
	const odd = "{ \"network\" : \"10.5.0.0/16\" }\n"
	if err := s.SetConfig(t.Context(), []byte(odd)); err != nil {
		t.Fatal(err)
	}
	if raw, revision, err := s.ConfigRaw(t.Context()); string(raw) != odd || revision == 0 || err != nil {
		t.Errorf("read %q at %d, %v", raw, revision, err)
	}
}

func TestOptionsAreCheckedTogether(t *testing.T) {
	_, err := New(Options{Endpoints: []string{"10.0.0.1:2379", "http://a:1", "https://b:1"}, CertFile: "/no/cert",
		Username: "u", TTL: time.Millisecond})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`"10.0.0.1:2379"`, "mix http and https", `"/no/cert"`, "both or neither", "whole seconds"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "no endpoints") {
		t.Errorf("without endpoints: %v", err)
	}
	if _, err := New(Options{Endpoints: []string{"http://a:1"}, CAFile: "/no/ca"}); err == nil || !strings.Contains(err.Error(), "https://") {
		t.Errorf("certificates for plain endpoints: %v", err)
	}
}

func TestAClosedStoreSaysSo(t *testing.T) {
	s, err := New(Options{Endpoints: []string{leasetest.Etcd(t)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Config(t.Context()); !errors.Is(err, lease.ErrNoConfig) {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Config(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v", err)
	}
	l := lease.Lease{Token: "no token"}
	if _, err := s.Renew(t.Context(), l); err == nil || !strings.Contains(err.Error(), "token") {
		t.Errorf("a token of another store: %v", err)
	}
}
