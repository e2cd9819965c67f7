package backup

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// A Status says what a snapshot holds.
type Status struct {
	Revision int64  `json:"revision"` // of the last change
	Keys     int    `json:"keys"`     // that exist at it
	Size     int64  `json:"size"`     // bytes of database
	Version  string `json:"version"`  // storage version of the etcd that it is from; empty: older than 3.6
	Hash     uint32 `json:"hash"`     // CRC-32C of all records, as etcdctl and etcdutl show it
}

// Read checks the file's hash and its pages, and returns what is in it. ErrDamaged where it is not as
// it was saved, or no snapshot.
func Read(file string) (Status, error) {
	if err := check(file); err != nil {
		return Status{}, fmt.Errorf("reading snapshot %s: %w", file, err)
	}
	s, err := snapshot.NewV3(zap.NewNop()).Status(file)
	if err != nil {
		return Status{}, fmt.Errorf("reading snapshot %s: %w: %w", file, ErrDamaged, err)
	}
	return Status{Revision: s.Revision, Keys: s.TotalKey, Size: s.TotalSize, Version: s.Version, Hash: s.Hash}, nil
}

func check(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return verify(f)
}
