package etcd

import (
	"context"
	"errors"
	"fmt"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
	"weft/lease/embedded"
	"weft/lease/leasetest"
)

// The tests in this file are named after what goes wrong in flannel v0.28.9, and run against a real
// server. Numbers 11 and 12 of that list are about devices and packets, and tested there.

// A world is a network on a server of its own.
type world struct {
	t      *testing.T
	server embedded.Options
	stop   func()
	opts   Options
	admin  *clientv3.Client
}

func newWorld(t *testing.T, config string) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, server: embedded.Options{DataDir: t.TempDir(),
		ListenClientURLs: []string{"http://" + leasetest.FreeAddr(t)},
		ListenPeerURLs:   []string{"http://" + leasetest.FreeAddr(t)}}}
	w.opts = Options{Endpoints: w.server.ListenClientURLs}
	w.stop = leasetest.StartEtcd(t, w.server)
	w.admin = admin(t, w.opts)
	w.put(DefaultPrefix+"/config", config)
	return w
}

func (w *world) put(key, value string) {
	w.t.Helper()
	if _, err := w.admin.Put(w.t.Context(), key, value); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) acquire(r lease.Request) lease.Lease {
	w.t.Helper()
	l, err := open(w.t, w.opts).Acquire(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func req(ip string) lease.Request { return lease.Request{Attrs: attrs(ip)} }

// outage stops the server, lets an etcd without our followers change things, and starts it again
// with its history compacted: a follower has to list again.
func (w *world) outage(change func()) {
	w.t.Helper()
	change()
	now, err := w.admin.Get(w.t.Context(), "none")
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.admin.Compact(w.t.Context(), now.Header.Revision); err != nil {
		w.t.Fatal(err)
	}
	w.stop()
	w.stop = leasetest.StartEtcd(w.t, w.server)
}

func TestUpstream01ALostCreateRaceIsFatal(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	const hosts = 16
	var all sync.WaitGroup
	got, errs := make([]lease.Lease, hosts), make([]error, hosts)
	s := open(t, w.opts)
	for i := range hosts {
		all.Go(func() {
			r := req(fmt.Sprintf("192.0.2.%d", i+1))
			r.Previous = netip.MustParsePrefix("10.5.9.0/24") // all want the same one
			got[i], errs[i] = s.Acquire(t.Context(), r)
		})
	}
	all.Wait()
	seen := map[netip.Prefix]bool{}
	for i := range hosts {
		if errs[i] != nil || seen[got[i].Subnet] {
			t.Errorf("host %d: %s, %v", i, got[i].Subnet, errs[i])
		}
		seen[got[i].Subnet] = true
	}
	if !seen[netip.MustParsePrefix("10.5.9.0/24")] {
		t.Error("nobody won the race")
	}
}

func TestUpstream02OneJunkKeyEmptiesTheWholeSnapshot(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16","SubnetMin":"10.5.100.0"}`) // where no junk is
	w.acquire(req("192.0.2.1"))
	w.acquire(req("192.0.2.2"))
	f := follow(t, open(t, w.opts))
	for i, junk := range [][2]string{{"/subnets/junk", "{}"}, {"/subnets/10.5.300.0-24", "{}"}, {"/subnets/", ""},
		{"/subnets/10.5.7.0-24", "{"}, {"/subnets/10.5.8.0-24", `[]`}, {"/subnets-of-mine", "x"}} {
		w.put(DefaultPrefix+junk[0], junk[1])
		s := wait(t, f, func(s *lease.Snapshot) bool { return len(s.Problems) == i+1 })
		if len(s.Leases) != 2 {
			t.Errorf("%s leaves %d leases", junk[0], len(s.Leases))
		}
	}
	// The same from a list.
	if s := wait(t, follow(t, open(t, w.opts)), func(*lease.Snapshot) bool { return true }); len(s.Leases) != 2 || len(s.Problems) != 6 {
		t.Errorf("a fresh list: %+v", s)
	}
}

func TestUpstream03ChangedAttributesAreLostAfterAResync(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	l := w.acquire(req("192.0.2.1"))
	f := follow(t, open(t, w.opts))
	w.outage(func() {
		w.put(DefaultPrefix+"/subnets/"+lease.Key(l.Subnets()), `{"PublicIP":"192.0.2.77","PublicIPv6":null,"BackendType":"vxlan"}`)
	})
	s := wait(t, f, func(s *lease.Snapshot) bool {
		return len(s.Leases) == 1 && s.Leases[0].Attrs.BackendType == "vxlan" && s.Leases[0].Attrs.PublicIP.String() == "192.0.2.77"
	})
	if s.Leases[0].Subnet != l.Subnet {
		t.Errorf("snapshot %+v", s)
	}
}

func TestUpstream04AResyncReportsTheOwnSubnetAsRemoved(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	s := open(t, w.opts)
	f := follow(t, s)
	k := lease.NewKeeper(lease.KeeperOptions{Store: s, Request: req("192.0.2.1"), Margin: time.Hour, Snapshots: f.Snapshots()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	defer func() { cancel(); <-done }()
	own, _, err := k.Tenures().Next(t.Context(), 0)
	if err != nil || !own.Held {
		t.Fatalf("first tenure %+v, %v", own, err)
	}
	wait(t, f, func(s *lease.Snapshot) bool { return len(s.Leases) == 1 })

	// A consumer that hangs in the middle of its work must not keep the loop from going on.
	hung, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	go func() {
		f.Snapshots().Next(t.Context(), 0)
		close(hung)
		<-release
	}()
	<-hung
	w.outage(func() { w.acquire(req("192.0.2.2")) })
	snap := wait(t, f, func(s *lease.Snapshot) bool { return len(s.Leases) == 2 })
	found := false
	for _, l := range snap.Leases {
		found = found || l.Subnet == own.Lease.Subnet
	}
	if now, _ := k.Tenures().Latest(); !found || !now.Held || now.Lease.Subnet != own.Lease.Subnet {
		t.Errorf("the own lease is not among %+v, or lost: %+v", snap.Leases, now)
	}
}

func TestUpstream05ABlindRenewalStealsASubnet(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	w.opts.TTL = time.Second
	s := open(t, w.opts)
	l, err := s.Acquire(t.Context(), req("192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	f := follow(t, s)
	wait(t, f, func(s *lease.Snapshot) bool { return len(s.Leases) == 0 }) // it expired while its host slept
	r := req("192.0.2.2")
	r.Previous = l.Subnet
	w.opts.TTL = 0
	other := w.acquire(r)
	if other.Subnet != l.Subnet {
		t.Fatalf("the other host got %s", other.Subnet)
	}
	if _, err := s.Renew(t.Context(), l); !errors.Is(err, lease.ErrLost) {
		t.Errorf("the sleeper renews: %v", err)
	}
	if _, err := s.Renew(t.Context(), other); err != nil {
		t.Errorf("the owner renews: %v", err)
	}
}

func TestUpstream06AReservationBecomesALeaseOfADay(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	key := DefaultPrefix + "/subnets/10.5.7.0-24"
	w.put(key, `{"PublicIP":"192.0.2.1","PublicIPv6":null}`)
	s := open(t, w.opts)
	for range 2 {
		l, err := s.Acquire(t.Context(), req("192.0.2.1"))
		if err != nil || lease.Key(l.Subnets()) != "10.5.7.0-24" {
			t.Fatalf("got %s, %v", l.Subnets(), err)
		}
		l.Attrs.BackendType = "vxlan"
		if _, err := s.Renew(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := w.admin.Get(t.Context(), key)
	if err != nil || len(resp.Kvs) != 1 || resp.Kvs[0].Lease != 0 {
		t.Errorf("the record hangs on a lease: %v, %v", resp.Kvs, err)
	}
	if all, err := w.admin.Leases(t.Context()); err != nil || len(all.Leases) != 0 {
		t.Errorf("%d etcd leases were left: %v", len(all.Leases), err)
	}
}

func TestUpstream07V6OnlyHostsTakeOverEachOthersLease(t *testing.T) {
	w := newWorld(t, `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`)
	s := open(t, w.opts)
	seen := map[netip.Prefix]bool{}
	for i := range 5 {
		r := lease.Request{Attrs: lease.Attrs{PublicIPv6: netip.MustParseAddr(fmt.Sprintf("fd99::%d", i+1))}}
		l, err := s.Acquire(t.Context(), r)
		if err != nil || seen[l.Subnet6] {
			t.Errorf("host %d: %s, %v", i, l.Subnet6, err)
		}
		seen[l.Subnet6] = true
	}
	// Nothing may be where flannel hosts look, which can't parse these keys.
	resp, err := w.admin.Get(t.Context(), DefaultPrefix+"/subnets", clientv3.WithPrefix())
	if err != nil || len(resp.Kvs) != 0 {
		t.Errorf("below subnets: %v, %v", resp.Kvs, err)
	}
}

func TestUpstream08ADualStackLeaseCrashesV4OnlyHosts(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16","SubnetMin":"10.5.100.0"}`)
	w.acquire(req("192.0.2.1"))
	w.put(DefaultPrefix+"/subnets/10.5.9.0-24&fd00:5:0:9::-64", `{"PublicIP":"192.0.2.9","PublicIPv6":"fd99::9","BackendType":"vxlan",`+
		`"BackendData":{"VNI":1,"VtepMAC":"0e:c5:04:da:1f:80"},"BackendV6Data":{"VNI":1,"VtepMAC":"72:62:4b:be:c3:11"}}`)
	s := wait(t, follow(t, open(t, w.opts)), func(*lease.Snapshot) bool { return true })
	if len(s.Leases) != 2 || len(s.Problems) != 0 {
		t.Fatalf("snapshot %+v", s)
	}
	for _, l := range s.Leases {
		if !l.Subnet.IsValid() || l.Subnet6.IsValid() {
			t.Errorf("an IPv4 network shows %s", l.Subnets())
		}
	}
}

func TestUpstream09AChangeOfOneFamilyOnlyIsDropped(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"}`)
	key := DefaultPrefix + "/subnets/10.5.9.0-24&fd00:5:0:9::-64"
	value := func(mac4, mac6 string) string {
		return `{"PublicIP":"192.0.2.9","PublicIPv6":"fd99::9","BackendType":"vxlan","BackendData":{"VtepMAC":"` + mac4 +
			`"},"BackendV6Data":{"VtepMAC":"` + mac6 + `"}}`
	}
	w.put(key, value("a", "b"))
	f := follow(t, open(t, w.opts))
	for _, macs := range [][2]string{{"a", "c"}, {"d", "c"}} {
		w.put(key, value(macs[0], macs[1]))
		wait(t, f, func(s *lease.Snapshot) bool {
			a := s.Leases[0].Attrs
			return string(a.BackendData) == `{"VtepMAC":"`+macs[0]+`"}` && string(a.BackendV6Data) == `{"VtepMAC":"`+macs[1]+`"}`
		})
	}
}

func TestUpstream10EventsOvertakeEachOtherInAFullQueue(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	l := w.acquire(req("192.0.2.1"))
	key := DefaultPrefix + "/subnets/" + lease.Key(l.Subnets())
	s := open(t, w.opts)
	const changes = 2000
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow := make(chan struct{})
	done := make(chan error, 1)
	last, yields := int64(0), 0
	go func() {
		done <- s.Watch(ctx, func(s *lease.Snapshot) {
			<-slow // nothing is taken until all has been written
			yields++
			if s.Revision <= last {
				t.Errorf("revision %d after %d", s.Revision, last)
			}
			last = s.Revision
			if s.Leases[0].Attrs.PublicIP.String() == fmt.Sprintf("192.0.%d.%d", 3+changes/250, changes%250) {
				cancel()
			}
		})
	}()
	for i := range changes + 1 {
		w.put(key, fmt.Sprintf(`{"PublicIP":"192.0.%d.%d"}`, 3+i/250, i%250))
	}
	close(slow)
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v before the last change", err)
	}
	t.Logf("%d changes in %d snapshots", changes, yields)
}

func TestUpstream13EtcdAwayNeverRecoversOrBurnsCPU(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	w.acquire(req("192.0.2.1"))
	counted := &counter{Store: open(t, w.opts)}
	f := follow(t, counted)
	wait(t, f, func(s *lease.Snapshot) bool { return len(s.Leases) == 1 })
	before := counted.watches()
	w.stop()
	time.Sleep(5 * time.Second) // real time: the client library's own retries are part of the question
	if n := counted.watches() - before; n > 15 {
		t.Errorf("%d attempts in five seconds", n)
	}
	for deadline := time.Now().Add(30 * time.Second); f.Status().Connected; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the outage goes unnoticed: %+v", f.Status())
		}
	}
	if s, _ := f.Snapshots().Latest(); len(s.Leases) != 1 {
		t.Errorf("during the outage: %+v", s)
	}
	w.stop = leasetest.StartEtcd(t, w.server)
	back := time.Now()
	w.acquire(req("192.0.2.2"))
	wait(t, f, func(s *lease.Snapshot) bool { return len(s.Leases) == 2 })
	t.Logf("recovered after %s", time.Since(back))
}

// A counter counts watches.
type counter struct {
	*Store // and not lease.Store: a follower asks it whether etcd is reachable too
	mu     sync.Mutex
	n      int
}

func (c *counter) Watch(ctx context.Context, yield func(*lease.Snapshot)) error {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.Store.Watch(ctx, yield)
}

func (c *counter) watches() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// TestUpstream14BackendDataRunsThroughAShell: CVE-2026-32241. What a record says is data: it comes
// out as it went in, and nothing in the lease packages can start a program.
func TestUpstream14BackendDataRunsThroughAShell(t *testing.T) {
	w := newWorld(t, `{"Network":"10.5.0.0/16"}`)
	const evil = `{"VtepMAC":"$(touch /tmp/x);` + "`id`" + `|| rm -rf / #","VNI":"1; reboot"}`
	r := req("192.0.2.1")
	r.Attrs.BackendData = []byte(evil)
	w.acquire(r)
	s := wait(t, follow(t, open(t, w.opts)), func(*lease.Snapshot) bool { return true })
	if got := string(s.Leases[0].Attrs.BackendData); got != evil {
		t.Errorf("became %s", got)
	}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && d.Name() == "leasetest" { // only tests import it
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range file.Imports {
			if i.Path.Value == `"os/exec"` {
				t.Errorf("%s can start programs", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
