package embedded_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"weft/lease/embedded"
	"weft/lease/leasetest"
	"weft/perf/netlab/labtest"
)

func TestDataOfAnotherCluster(t *testing.T) {
	o := options(t)
	o.Name, o.InitialCluster = "a", "a="+o.ListenPeerURLs[0]
	leasetest.StartEtcd(t, o)()
	leasetest.StartEtcd(t, o)() // its own is taken again

	other := o
	other.ListenPeerURLs = []string{"http://" + leasetest.FreeAddr(t)}
	other.InitialCluster = "a=" + other.ListenPeerURLs[0]
	err := failure(t, other)
	for _, want := range []string{o.DataDir, "belongs to another cluster", o.InitialCluster, other.InitialCluster, "choose another folder"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// Members that came and went don't make another cluster of it.
	more := o
	more.InitialCluster += ",b=http://127.0.0.9:2380"
	leasetest.StartEtcd(t, more)()
}

func TestDataOfANewerVersion(t *testing.T) {
	for bucket, key := range map[string]string{"meta": "storageVersion", "cluster": "clusterVersion"} {
		o := options(t)
		leasetest.StartEtcd(t, o)()
		db, err := bbolt.Open(filepath.Join(o.DataDir, "member", "snap", "db"), 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucket)).Put([]byte(key), []byte("3.99.0")) })
		if err = errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		err = failure(t, o)
		for _, want := range []string{o.DataDir, "written by etcd 3.99", "choose another folder"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", key, err, want)
			}
		}
	}
}

func TestDataThatAreNone(t *testing.T) {
	o := options(t)
	file := filepath.Join(o.DataDir, "member", "snap", "db")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(strings.Repeat("junk", 5000)), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := failure(t, o); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "restore a snapshot") {
		t.Errorf("got %v", err)
	}
}

// smallDisk mounts a file system of its own for the time of the test.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("weft-test", dir, "tmpfs", 0, options); err != nil {
		labtest.Missing(t, fmt.Errorf("mounting a small disk: %w", err))
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestAFolderThatCantBeWritten(t *testing.T) {
	readOnly := options(t)
	readOnly.DataDir = smallDisk(t, "size=1m,mode=0755")
	if err := syscall.Mount("", readOnly.DataDir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	full := options(t)
	full.DataDir = smallDisk(t, "size=16m")
	for kind, o := range map[error]embedded.Options{syscall.EROFS: readOnly, syscall.ENOSPC: full} { // etcd's log alone takes 64 MiB
		err := leasetest.TryProcess(t, o)
		for _, want := range []string{o.DataDir, kind.Error(), "free"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	}
}

// TestAFolderOfAnotherUser: root may write anywhere, so the server runs as somebody else.
func TestAFolderOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	o := options(t)
	parent := filepath.Dir(o.DataDir)
	for dir := parent; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	taken := o
	taken.DataDir = filepath.Join(parent, "taken")
	if err := os.Mkdir(taken.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for what, o := range map[string]embedded.Options{"can't be made": o, "can't be written": taken} {
		err := leasetest.TryProcessAs(t, o, 65534)
		for _, want := range []string{o.DataDir, "permission denied", "choose"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", what, err, want)
			}
		}
	}
}

// TestADiskThatFillsUpWhileServing: etcd would end the whole process from deep inside. Here Run
// returns, and says what is the matter.
func TestADiskThatFillsUpWhileServing(t *testing.T) {
	o := options(t)
	disk := smallDisk(t, "size=140m")
	o.DataDir = filepath.Join(disk, "data")
	p := leasetest.StartProcess(t, o) // what etcd leaves behind when its goroutines end can't be cleaned up
	c, err := clientv3.New(clientv3.Config{Endpoints: o.ListenClientURLs, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	junk := make([]byte, 1<<20)
	for i := 0; i < 200; i++ {
		if _, err := c.Put(t.Context(), "/fill/"+string(rune('a'+i%26))+string(rune('a'+i/26)), string(junk)); err != nil {
			break
		}
	}
	err = p.Wait(20 * time.Second)
	log := p.Log()
	last := log[strings.LastIndex(strings.TrimSpace(log), "\n")+1:]
	if err == nil || !strings.Contains(last, "no space left on device") || !strings.Contains(last, o.DataDir) {
		t.Errorf("ended with %v and %s", err, last)
	}
	t.Log(last)
}
