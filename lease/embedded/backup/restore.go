package backup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// A Target is the member that a snapshot is restored for. For a cluster every member is restored
// from the same file, with the same InitialCluster and ClusterToken, and then started with them.
type Target struct {
	DataDir        string   // must not be there, or be empty
	Name           string   // empty: "default"
	InitialCluster string   // NAME=URL,…; empty: Name alone, at PeerURLs
	PeerURLs       []string // that this member tells others; empty: http://127.0.0.1:2380
	ClusterToken   string   // empty: "etcd-cluster"

	// RevisionBump is added to the revision, and all before that counts as compacted. A server must
	// not go back in time: agents that watched it know later revisions than the snapshot has, and would
	// take its next changes for old ones. So they find their revision compacted, and list again.
	// 0: don't, for a copy that nobody has watched.
	RevisionBump uint64

	// SkipHashCheck takes a file without a hash: the database of a member that has stopped.
	SkipHashCheck bool
}

// DefaultRevisionBump is more than any network changes between a snapshot and its restoration: a
// thousand changes a second for eleven days.
const DefaultRevisionBump = 1_000_000_000

// Restore makes the contents of t.DataDir from the file: all of it, or nothing. Members, ports and
// addresses of the cluster that was saved are forgotten, its keys, leases, users and roles kept.
// ErrDamaged where the file is not as it was saved; ErrExists where something is in the folder.
func Restore(file string, t Target) error {
	if err := restore(file, t.complete()); err != nil {
		return fmt.Errorf("restoring snapshot %s to %s: %w", file, t.DataDir, err)
	}
	return nil
}

// complete fills in what stands for a member that is alone.
func (t Target) complete() Target {
	if t.Name == "" {
		t.Name = "default"
	}
	if len(t.PeerURLs) == 0 {
		t.PeerURLs = []string{"http://127.0.0.1:2380"}
	}
	if t.ClusterToken == "" {
		t.ClusterToken = "etcd-cluster"
	}
	if t.InitialCluster == "" {
		t.InitialCluster = t.Name + "=" + strings.Join(t.PeerURLs, ","+t.Name+"=")
	}
	return t
}

func restore(file string, t Target) error {
	if !t.SkipHashCheck {
		if err := check(file); err != nil {
			return err
		}
	} else if _, err := os.Stat(file); err != nil {
		return err
	}
	switch entries, err := os.ReadDir(t.DataDir); {
	case err == nil && len(entries) > 0:
		return fmt.Errorf("%w: move what is in the folder elsewhere, or choose another one", ErrExists)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	// Inside the folder, since that may be a disk of its own, and what is finished has to be moved.
	if err := os.MkdirAll(t.DataDir, 0o700); err != nil {
		return err
	}
	work, err := os.MkdirTemp(t.DataDir, ".restoring-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	data := filepath.Join(work, "data")
	err = snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath:        file,
		Name:                t.Name,
		OutputDataDir:       data,
		PeerURLs:            t.PeerURLs,
		InitialCluster:      t.InitialCluster,
		InitialClusterToken: t.ClusterToken,
		RevisionBump:        t.RevisionBump,
		SkipHashCheck:       t.SkipHashCheck,
		MarkCompacted:       t.RevisionBump > 0,
	})
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(data, "member"), filepath.Join(t.DataDir, "member")); err != nil {
		return err
	}
	return syncFolder(filepath.Join(t.DataDir, "member"))
}
