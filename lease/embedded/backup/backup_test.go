package backup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"weft/lease/embedded"
	"weft/lease/embedded/backup"
	"weft/lease/leasetest"
)

func options(t *testing.T) embedded.Options {
	return embedded.Options{DataDir: filepath.Join(t.TempDir(), "data"),
		ListenClientURLs: []string{"http://" + leasetest.FreeAddr(t)}, ListenPeerURLs: []string{"http://" + leasetest.FreeAddr(t)}}
}

func client(t *testing.T, endpoints ...string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func put(t *testing.T, c *clientv3.Client, key, value string, opts ...clientv3.OpOption) int64 {
	t.Helper()
	resp, err := c.Put(t.Context(), key, value, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

// get returns a value; empty where there is none.
func get(t *testing.T, c *clientv3.Client, key string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	resp, err := c.Get(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}

// saved starts a server with some keys and a lease in it, and returns its snapshot and last revision.
func saved(t *testing.T) (file string, revision int64) {
	t.Helper()
	o := options(t)
	leasetest.StartEtcd(t, o)
	c := client(t, o.ListenClientURLs...)
	grant, err := c.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, "/a", "1")
	put(t, c, "/gone", "1")
	put(t, c, "/leased", "1", clientv3.WithLease(grant.ID))
	if _, err := c.Delete(t.Context(), "/gone"); err != nil {
		t.Fatal(err)
	}
	revision = put(t, c, "/a", "2")
	file = filepath.Join(t.TempDir(), "snapshot.db")
	// The first endpoint is down: the next one is asked.
	from, err := backup.Save(t.Context(), backup.Source{Endpoints: []string{"http://" + leasetest.FreeAddr(t), o.ListenClientURLs[0]},
		Timeout: 2 * time.Second}, file, false)
	if err != nil || from != o.ListenClientURLs[0] {
		t.Fatalf("from %s: %v", from, err)
	}
	return file, revision
}

func TestSaveAndRestore(t *testing.T) {
	file, revision := saved(t)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	s, err := backup.Read(file)
	if err != nil || s.Revision != revision || s.Keys != 2 || s.Version != "3.7.0" && s.Version != "3.6.0" {
		t.Errorf("status %+v, %v; want revision %d", s, err, revision)
	}
	for _, bump := range []uint64{0, backup.DefaultRevisionBump} {
		o := options(t)
		if err := backup.Restore(file, backup.Target{DataDir: o.DataDir, PeerURLs: o.ListenPeerURLs, RevisionBump: bump}); err != nil {
			t.Fatal(err)
		}
		leasetest.StartEtcd(t, o)
		c := client(t, o.ListenClientURLs...)
		if get(t, c, "/a") != "2" || get(t, c, "/leased") != "1" || get(t, c, "/gone") != "" {
			t.Error("the keys are not those that were saved")
		}
		if leases, err := c.Leases(t.Context()); err != nil || len(leases.Leases) != 1 {
			t.Errorf("leases: %v, %v", leases, err)
		}
		if r := put(t, c, "/next", "1"); r != revision+int64(bump)+1 {
			t.Errorf("goes on at revision %d, want %d", r, revision+int64(bump)+1)
		}
		// A watcher that knew more than the snapshot has must be told that it missed something.
		if bump > 0 {
			if w := <-c.Watch(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithRev(revision+100)); w.CompactRevision == 0 {
				t.Errorf("an old revision can be watched: %+v", w)
			}
		}
	}
}

func TestAClusterOfThreeFromOneFile(t *testing.T) {
	file, _ := saved(t)
	members := make([]embedded.Options, 3)
	var all, endpoints []string
	for i := range members {
		members[i] = options(t)
		members[i].Name, members[i].ClusterToken = fmt.Sprintf("m%d", i), "again"
		all = append(all, members[i].Name+"="+members[i].ListenPeerURLs[0])
		endpoints = append(endpoints, members[i].ListenClientURLs[0])
	}
	done := make(chan bool)
	for i := range members {
		members[i].InitialCluster = strings.Join(all, ",")
		err := backup.Restore(file, backup.Target{DataDir: members[i].DataDir, Name: members[i].Name, PeerURLs: members[i].ListenPeerURLs,
			InitialCluster: members[i].InitialCluster, ClusterToken: "again", RevisionBump: backup.DefaultRevisionBump})
		if err != nil {
			t.Fatal(err)
		}
		go func() { leasetest.StartEtcd(t, members[i]); done <- true }()
	}
	for range members {
		<-done
	}
	c := client(t, endpoints...)
	if list, err := c.MemberList(t.Context()); err != nil || len(list.Members) != 3 {
		t.Errorf("members: %v, %v", list, err)
	}
	put(t, c, "/new", "x")
	for _, e := range endpoints {
		if one := client(t, e); get(t, one, "/a") != "2" || get(t, one, "/new") != "x" {
			t.Errorf("%s has not what was saved", e)
		}
	}
}

// TestASurvivorsDatabase: the majority is lost, and the newest there is lies in a member's folder.
func TestASurvivorsDatabase(t *testing.T) {
	o := options(t)
	stop := leasetest.StartEtcd(t, o)
	put(t, client(t, o.ListenClientURLs...), "/a", "newest")
	stop()
	file := filepath.Join(o.DataDir, "member", "snap", "db")
	o.DataDir = filepath.Join(t.TempDir(), "data")
	target := backup.Target{DataDir: o.DataDir, PeerURLs: o.ListenPeerURLs, RevisionBump: backup.DefaultRevisionBump}
	if err := backup.Restore(file, target); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("without a hash: %v", err)
	}
	target.SkipHashCheck = true
	if err := backup.Restore(file, target); err != nil {
		t.Fatal(err)
	}
	leasetest.StartEtcd(t, o)
	if got := get(t, client(t, o.ListenClientURLs...), "/a"); got != "newest" {
		t.Errorf("got %q", got)
	}
}

func TestWhatIsThereIsKept(t *testing.T) {
	file, _ := saved(t)
	o := options(t)
	leasetest.StartEtcd(t, o)
	source := backup.Source{Endpoints: o.ListenClientURLs}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Save(t.Context(), source, file, false); !errors.Is(err, backup.ErrExists) || !strings.Contains(err.Error(), file) {
		t.Errorf("saving over a file: %v", err)
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != string(before) {
		t.Errorf("the file was touched: %v", err)
	}
	if err := backup.Restore(file, backup.Target{DataDir: o.DataDir}); !errors.Is(err, backup.ErrExists) || !strings.Contains(err.Error(), o.DataDir) {
		t.Errorf("restoring over data: %v", err)
	}
	if _, err := backup.Save(t.Context(), source, file, true); err != nil {
		t.Error(err)
	}
	if s, err := backup.Read(file); err != nil || s.Keys != 0 {
		t.Errorf("replaced by %+v, %v", s, err)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("left beside the file: %v, %v", left, err)
	}
}

func TestDamagedFilesAreRefused(t *testing.T) {
	file, _ := saved(t)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)/2] ^= 1
	for name, bad := range map[string][]byte{"flipped": flipped, "cut": good[:len(good)-512], "hash cut off": good[:len(good)-32],
		"empty": nil, "something else": []byte("hello")} {
		path := filepath.Join(t.TempDir(), "bad.db")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := backup.Read(path); !errors.Is(err, backup.ErrDamaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("reading %s: %v", name, err)
		}
		dir := filepath.Join(t.TempDir(), "data")
		if err := backup.Restore(path, backup.Target{DataDir: dir}); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("restoring %s: %v", name, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s left a folder", name)
		}
	}
	if _, err := backup.Read(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing one: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := backup.Restore(file, backup.Target{DataDir: dir, Name: "x", InitialCluster: "y=http://127.0.0.1:2380"}); err == nil {
		t.Error("restored for a member that isn't in its cluster")
	} else if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left %v after %v", left, err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	endpoint := "http://" + leasetest.FreeAddr(t)
	file := filepath.Join(t.TempDir(), "s.db")
	_, err := backup.Save(t.Context(), backup.Source{Endpoints: []string{endpoint}, Timeout: 300 * time.Millisecond}, file, false)
	if err == nil || !strings.Contains(err.Error(), endpoint) || !strings.Contains(err.Error(), "is it running") {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestSaveOverTLS(t *testing.T) {
	p := leasetest.NewPKI(t)
	o := options(t)
	o.ListenClientURLs = []string{"https://" + leasetest.FreeAddr(t)}
	o.ClientTLS = embedded.TLS{CertFile: p.ServerCert, KeyFile: p.ServerKey, CAFile: p.CA, RequireClientCert: true}
	leasetest.StartEtcd(t, o)
	source := backup.Source{Endpoints: o.ListenClientURLs, CAFile: p.CA, CertFile: p.ClientCert, KeyFile: p.ClientKey, Timeout: 2 * time.Second}
	file := filepath.Join(t.TempDir(), "s.db")
	if _, err := backup.Save(t.Context(), source, file, false); err != nil {
		t.Error(err)
	}
	source.CertFile, source.KeyFile = p.StrangerCert, p.StrangerKey
	if _, err := backup.Save(t.Context(), source, file, true); err == nil {
		t.Error("a stranger got a snapshot")
	}
	source.CertFile = "/no/cert.pem"
	if _, err := backup.Save(t.Context(), source, file, true); err == nil || !strings.Contains(err.Error(), "/no/cert.pem") {
		t.Errorf("without the file: %v", err)
	}
}
