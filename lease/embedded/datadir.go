package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-semver/semver"
	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/schema"
)

// prepareDir makes the folder, and sees that it can be written, that no other server has it open
// (etcd itself would wait for the file's lock for ever, without a word), and that what is in there
// is what members wants to go on with; nil: whatever is there.
func prepareDir(dir string, members roster) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making data folder of embedded etcd: %w: choose one that can be written", err)
	}
	if err := tryWriting(dir); err != nil {
		return err
	}
	if err := checkUnlocked(dir); err != nil {
		return fmt.Errorf("opening data folder %s of embedded etcd: %w", dir, err)
	}
	past, err := readPast(filepath.Join(dir, "member", "snap", "db"))
	if err != nil {
		return fmt.Errorf("opening data folder %s of embedded etcd: %w: restore a snapshot into a new folder "+
			"(weft etcd snapshot restore), or choose another one", dir, err)
	}
	return past.suits(dir, members)
}

var errLocked = errors.New("another etcd server has it open: stop that one, or choose another folder")

// tryWriting finds out by doing it: permissions, read-only mounts and full disks all show.
func tryWriting(dir string) error {
	f, err := os.CreateTemp(dir, ".writable-")
	if err == nil {
		_, err = f.Write(make([]byte, 4096))
		err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return fmt.Errorf("writing to data folder %s of embedded etcd: %w: free some space there, let this user write, "+
			"or choose another folder", dir, err)
	}
	return nil
}

// A past is what an earlier run left. The zero value: nothing, or nothing that can be told.
type past struct {
	members roster          // every member that was told the cluster, this one among them
	version *semver.Version // of the etcd that the data need at least; nil: older than 3.6, any will do
}

// readPast reads a database that no server has open.
func readPast(file string) (past, error) {
	var p past
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	// A snapshot of the page table would be made by etcd next; nothing is written here.
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return p, fmt.Errorf("reading database %s: %w", file, err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		p.version = newest(tx)
		bucket := tx.Bucket(schema.Members.Name())
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(_, value []byte) error {
			var m membership.Member
			if err := json.Unmarshal(value, &m); err != nil {
				return fmt.Errorf("reading the members in %s: %w", file, err)
			}
			for _, u := range m.PeerURLs {
				p.members = append(p.members, seat{m.Name, u})
			}
			return nil
		})
	})
	return p, err
}

// newest returns the higher of the two versions that a database names.
func newest(tx *bbolt.Tx) *semver.Version {
	var found *semver.Version
	for bucket, key := range map[string][]byte{
		string(schema.Meta.Name()):    schema.MetaStorageVersionName,
		string(schema.Cluster.Name()): schema.ClusterClusterVersionKeyName,
	} {
		b := tx.Bucket([]byte(bucket))
		if b == nil {
			continue
		}
		if v, err := semver.NewVersion(pad(string(b.Get(key)))); err == nil && (found == nil || found.LessThan(*v)) {
			found = v
		}
	}
	return found
}

// pad makes a version of two parts, as etcd stores some, one of three.
func pad(v string) string {
	if strings.Count(v, ".") == 1 {
		return v + ".0"
	}
	return v
}

// suits says why the data can't be gone on with. etcd itself ignores the initial cluster where there
// are data, and would go on as a member of whatever they are from.
func (p past) suits(dir string, members roster) error {
	if own := semver.Must(semver.NewVersion(version.Version)); p.version != nil &&
		(p.version.Major > own.Major || p.version.Major == own.Major && p.version.Minor > own.Minor) {
		return fmt.Errorf("opening data folder %s of embedded etcd: it was written by etcd %d.%d, and this is %s: "+
			"run a weft that brings that one along, or choose another folder", dir, p.version.Major, p.version.Minor, own)
	}
	if len(members) == 0 || len(p.members) == 0 {
		return nil
	}
	for _, m := range members {
		if slices.ContainsFunc(p.members, func(s seat) bool { return s.url == m.url }) {
			return nil // members may have come and gone since
		}
	}
	return fmt.Errorf("opening data folder %s of embedded etcd: it belongs to another cluster, of %s, and not to initial-cluster %s: "+
		"choose another folder, or give the members it belongs to", dir, p.members, members)
}
