package netlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// recordDir holds one record per lab. It is on /run because a reboot ends every lab.
const recordDir = "/run/weft-netlab"

// A Record says what a lab is, for whoever has to clean up after it.
type Record struct {
	ID      string
	Owner   int       // process ID of the builder, for people; the lock tells whether it lives
	Started time.Time // when the lab was built
	Dir     string    // the lab's temporary directory
	Hosts   int
	Kept    bool // left running on purpose: only Remove ends it
}

// record is the Record on disk, held by a lock on its file that the kernel drops with the process.
type record struct {
	Record
	file *os.File
}

// createRecord writes and locks a new record. The directory's lock keeps a sweep from seeing the
// file before it is locked.
func createRecord(r Record) (*record, error) {
	if err := os.MkdirAll(recordDir, 0o755); err != nil {
		return nil, fmt.Errorf("making lab record directory: %w", err)
	}
	unlock, err := lockRecords()
	if err != nil {
		return nil, err
	}
	defer unlock()
	// O_EXCL: an ID that is taken is an error, never a second owner.
	path := recordPath(r.ID)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("creating lab record: %w", err)
	}
	held := &record{Record: r, file: file}
	if err := errors.Join(unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB), held.save()); err != nil {
		return nil, errors.Join(fmt.Errorf("writing lab record %s: %w", path, err), held.remove())
	}
	return held, nil
}

// errOwned is what takeRecord returns while the lab's owner lives.
var errOwned = errors.New("its owner is still running")

// takeRecord locks an existing record: from then on its lab is the caller's. errOwned if a living
// process has it, fs.ErrNotExist if there is no such lab (any more).
func takeRecord(id string) (*record, error) {
	unlock, err := lockRecords()
	if err != nil {
		return nil, err
	}
	defer unlock()
	file, err := os.OpenFile(recordPath(id), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("opening lab record: %w", err)
	}
	// Whoever built the lab holds this lock until it closes the lab or dies, by whatever signal.
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lab %s: %w", id, errOwned), file.Close())
	}
	held := &record{Record: readRecord(file, id), file: file}
	return held, nil
}

// readRecord reads what it can: a torn record (disk full, killed while writing) still has its
// ID in the file name, and that is enough to find everything but the directory.
func readRecord(file *os.File, id string) Record {
	var r Record
	if err := json.NewDecoder(file).Decode(&r); err != nil || r.ID != id {
		return Record{ID: id}
	}
	return r
}

// save writes the record in place: the lock is on this very file.
func (r *record) save() error {
	text, err := json.Marshal(r.Record)
	if err != nil {
		return err
	}
	if err := r.file.Truncate(0); err != nil {
		return err
	}
	_, err = r.file.WriteAt(text, 0)
	return err
}

// remove deletes the record and gives the lock up, the last step of cleaning.
func (r *record) remove() error {
	return errors.Join(os.Remove(recordPath(r.ID)), r.file.Close())
}

// recordPath is where the record of a lab is.
func recordPath(id string) string { return filepath.Join(recordDir, id+".json") }

// recordIDs lists the labs that have a record, dead or alive.
func recordIDs() ([]string, error) {
	entries, err := os.ReadDir(recordDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// lockRecords holds the record directory for the moment in which a record appears or is taken.
func lockRecords() (unlock func(), err error) {
	dir, err := os.Open(recordDir)
	if err != nil {
		return nil, fmt.Errorf("opening lab record directory: %w", err)
	}
	for {
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", recordDir, err), dir.Close())
	}
	return func() { dir.Close() }, nil
}
