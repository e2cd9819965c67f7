package backup_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"weft/lease/embedded/backup"
	"weft/lease/leasetest"
	"weft/perf/netlab/labtest"
)

func etcdctl(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), labtest.NeedProgram(t, "etcdctl", "etcd-client"), args...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("etcdctl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// debianServer runs the distribution's etcd until the test ends.
func debianServer(t *testing.T, dir, endpoint, peer string) {
	t.Helper()
	log := &strings.Builder{}
	cmd := exec.Command(labtest.NeedProgram(t, "etcd", "etcd-server"), "--data-dir", dir, "--listen-client-urls", endpoint, "--advertise-client-urls", endpoint,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer, "--logger", "zap", "--log-outputs", "stderr")
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s", log.String()[max(0, log.Len()-3000):])
		}
	})
}

// TestDebiansSnapshotIsRestored: from its server, by its client, into weft's etcd.
func TestDebiansSnapshotIsRestored(t *testing.T) {
	endpoint, peer := "http://"+leasetest.FreeAddr(t), "http://"+leasetest.FreeAddr(t)
	debianServer(t, filepath.Join(t.TempDir(), "data"), endpoint, peer)
	put(t, client(t, endpoint), "/from", "debian")
	byDebian, byWeft := filepath.Join(t.TempDir(), "d.db"), filepath.Join(t.TempDir(), "w.db")
	etcdctl(t, "--endpoints", endpoint, "snapshot", "save", byDebian)
	if _, err := backup.Save(t.Context(), backup.Source{Endpoints: []string{endpoint}}, byWeft, false); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{byDebian, byWeft} {
		if s, err := backup.Read(file); err != nil || s.Keys != 1 || s.Version != "" {
			t.Errorf("status %+v, %v", s, err)
		}
		o := options(t)
		if err := backup.Restore(file, backup.Target{DataDir: o.DataDir, PeerURLs: o.ListenPeerURLs, RevisionBump: 1000}); err != nil {
			t.Fatal(err)
		}
		leasetest.StartEtcd(t, o)
		if got := get(t, client(t, o.ListenClientURLs...), "/from"); got != "debian" {
			t.Errorf("got %q", got)
		}
	}
}

// TestDebianReadsWeftsSnapshot: its etcdctl (3.4) saves from weft's etcd (3.7), knows its files, and
// makes data of them that its own server starts on. Going back is not promised by etcd's authors, but
// holds for keys.
func TestDebianReadsWeftsSnapshot(t *testing.T) {
	file, revision := saved(t)
	s, err := backup.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if out := etcdctl(t, "snapshot", "status", file, "-w", "json"); !strings.Contains(out, `"revision":`+strconv.FormatInt(revision, 10)) {
		t.Errorf("revision %d, hash %08x; etcdctl says %s", revision, s.Hash, out)
	}
	dir := filepath.Join(t.TempDir(), "data")
	endpoint, peer := "http://"+leasetest.FreeAddr(t), "http://"+leasetest.FreeAddr(t)
	etcdctl(t, "snapshot", "restore", file, "--data-dir", dir, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	debianServer(t, dir, endpoint, peer)
	if got := get(t, client(t, endpoint), "/a"); got != "2" {
		t.Errorf("Debian's server has %q", got)
	}

	o := options(t)
	leasetest.StartEtcd(t, o)
	put(t, client(t, o.ListenClientURLs...), "/x", "1")
	mine := filepath.Join(t.TempDir(), "d.db")
	etcdctl(t, "--endpoints", o.ListenClientURLs[0], "snapshot", "save", mine)
	if s, err := backup.Read(mine); err != nil || s.Keys != 1 {
		t.Errorf("what etcdctl saved from weft's: %+v, %v", s, err)
	}
}
