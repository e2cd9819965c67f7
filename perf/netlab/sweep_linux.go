package netlab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Sweep removes every lab whose owner is dead and which wasn't kept, with its processes, namespaces
// and files. It returns the IDs of those it removed.
func Sweep() (removed []string, err error) {
	ids, err := recordIDs()
	if err != nil {
		return nil, fmt.Errorf("listing labs: %w", err)
	}
	var problems []error
	for _, id := range ids {
		r, err := takeRecord(id)
		// Once taken, nobody else sweeps it: two starts at a time share the work, not the labs.
		switch {
		case errors.Is(err, errOwned), errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			problems = append(problems, err)
		case r.Kept: // somebody wants it to outlive its builder
			problems = append(problems, r.file.Close())
		default:
			removed = append(removed, id)
			problems = append(problems, r.clean())
		}
	}
	return removed, errors.Join(problems...)
}

// Remove ends a lab that was kept, or whose owner is dead. The error wraps fs.ErrNotExist if there
// is no such lab.
func Remove(id string) error {
	r, err := takeRecord(id)
	if err != nil {
		return fmt.Errorf("removing lab: %w", err)
	}
	return r.clean()
}

// Labs lists the labs on this machine, whoever owns them.
func Labs() ([]Record, error) {
	ids, err := recordIDs()
	if err != nil {
		return nil, fmt.Errorf("listing labs: %w", err)
	}
	var labs []Record
	for _, id := range ids {
		file, err := os.Open(recordPath(id))
		if err != nil {
			continue // ended since it was listed
		}
		labs = append(labs, readRecord(file, id))
		file.Close()
	}
	return labs, nil
}

// clean removes all that carries the lab's ID, the record last: killed half-way, the next sweep
// goes on from there.
func (r *record) clean() error {
	// Processes first: whoever is inside a namespace keeps it alive.
	err := errors.Join(killMarked(r.ID), unmountNamespaces(r.ID))
	if r.Dir != "" {
		err = errors.Join(err, os.RemoveAll(r.Dir))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cleaning up lab %s: %w", r.ID, err), r.file.Close())
	}
	return r.remove()
}

// endPatience is how long processes may take to end by themselves: an agent takes back then what would outlive it
// (pins in the BPF file system, which no namespace holds).
const endPatience = time.Second

// killPatience is how long killed processes may take to be gone; a process in an uninterruptible
// system call can take longer than any bound.
const killPatience = 5 * time.Second

// killMarked ends every process that carries the lab's mark, by SIGTERM and those that stay by SIGKILL, and waits until
// all are gone. It looks again after killing, since a dying process may have forked.
func killMarked(id string) error {
	asked := map[int]bool{}
	began := time.Now()
	for ; ; time.Sleep(5 * time.Millisecond) {
		pids, err := marked(id)
		if err != nil || len(pids) == 0 {
			return err
		}
		took := time.Since(began)
		if took > endPatience+killPatience {
			return fmt.Errorf("processes %v survive SIGKILL", pids)
		}
		for _, pid := range pids {
			switch {
			case took > endPatience:
				signalIfMarked(pid, id, syscall.SIGKILL)
			case !asked[pid]:
				signalIfMarked(pid, id, syscall.SIGTERM)
				asked[pid] = true
			}
		}
	}
}

// marked lists the processes with the lab's mark, but not this one, which may be a lab's child.
func marked(id string) (pids []int, err error) {
	entries, err := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && pid != os.Getpid() && hasMark(pid, id) {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

// hasMark reads the environment the process was started with. A zombie has none: it is gone.
func hasMark(pid int, id string) bool {
	// NUL-terminated strings; the first has none in front (proc_pid_environ(5)).
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	mark := []byte(markVariable + "=" + id)
	return err == nil && (bytes.HasPrefix(environ, append(mark, 0)) ||
		bytes.Contains(environ, append(append([]byte{0}, mark...), 0)))
}

// signalIfMarked opens the process (a pidfd) before it looks at the mark once more, so that a reused
// process ID can't be hit.
func signalIfMarked(pid int, id string, signal syscall.Signal) {
	process, err := os.FindProcess(pid)
	if err != nil {
		return
	}
	defer process.Release()
	if hasMark(pid, id) {
		_ = process.Signal(signal) // it may have ended
	}
}

// unmountNamespaces removes the lab's names from /run/netns. The kernel then destroys each
// namespace with its devices, as soon as nothing else is inside.
func unmountNamespaces(id string) error {
	entries, err := os.ReadDir(runNetns)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), id+"-") {
			continue
		}
		path := filepath.Join(runNetns, e.Name())
		// EINVAL: not mounted, the builder was killed between creating and mounting.
		if unmount := unix.Unmount(path, unix.MNT_DETACH); unmount != nil && unmount != unix.EINVAL {
			err = errors.Join(err, fmt.Errorf("unmounting %s: %w", path, unmount))
		}
		err = errors.Join(err, os.Remove(path))
	}
	return err
}
