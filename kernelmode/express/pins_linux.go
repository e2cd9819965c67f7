package express

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// What is pinned: the counters, and the link of each program.
const (
	countsPin   = "counts"
	egressPin   = "egress"
	ingressPin  = "ingress"
	returnedPin = "returned"
)

// pins is the folder of one device in the BPF file system: what is named there stays in the kernel when the
// process that made it ends.
type pins struct {
	folder string
	err    error // why nothing can be pinned; nil: it can
}

// openPins makes the folder, and mounts the file system where nobody has. Device names are each network namespace's
// own and the file system is everyone's, so the namespace is part of the folder's name.
func openPins(root, device string) pins {
	if root == "" {
		root = DefaultPins
	}
	name, err := pinName(device)
	if err != nil {
		return pins{err: err}
	}
	if err := mountBPF(filepath.Dir(root)); err != nil {
		return pins{err: err}
	}
	p := pins{folder: filepath.Join(root, name)}
	if err := os.MkdirAll(p.folder, 0o700); err != nil {
		p.err = fmt.Errorf("express: making a folder for pins: %w: the agent needs a writable BPF file system there "+
			"(docker run -v /sys/fs/bpf:/sys/fs/bpf)", err)
	}
	return p
}

// pinName is the device and the number of the thread's network namespace.
func pinName(device string) (string, error) {
	var stat unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &stat); err != nil {
		return "", fmt.Errorf("express: asking for the network namespace: %w", err)
	}
	return fmt.Sprintf("%s-%d", device, stat.Ino), nil
}

// mounted: the file system was mounted by this process. It goes with the process that has mounts of its own, in a container or
// under `ip netns exec`, and links that are pinned there with it.
var mounted atomic.Bool

// lasting reports whether links that are pinned stay when this process has ended; filters do in any case.
func (p pins) lasting() bool { return p.err == nil && !mounted.Load() }

// mountBPF mounts the BPF file system at the folder unless one is there.
func mountBPF(folder string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(folder, &fs); err == nil && fs.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", folder, "bpf", 0, ""); err != nil {
		return fmt.Errorf("express: mounting the BPF file system at %s: %w: mount it on the host (mount -t bpf bpf %s) "+
			"and give it to the container", folder, err, folder)
	}
	mounted.Store(true)
	return nil
}

func (p pins) path(name string) string { return filepath.Join(p.folder, name) }

// link returns what is pinned under a name; nil for nothing.
func (p pins) link(name string) link.Link {
	if p.err != nil {
		return nil
	}
	l, err := link.LoadPinnedLink(p.path(name), nil)
	if err != nil {
		return nil
	}
	return l
}

// pinLink pins a new link in the place of whatever had the name.
func (p pins) pinLink(name string, l link.Link) error {
	os.Remove(p.path(name))
	if err := l.Pin(p.path(name)); err != nil {
		return fmt.Errorf("express: pinning the link %s: %w", p.path(name), err)
	}
	return nil
}

// counts returns the counters that an earlier lane left, if they are of this version's shape.
func (p pins) counts(spec *ebpf.MapSpec) *ebpf.Map {
	if p.err != nil {
		return nil
	}
	m, err := ebpf.LoadPinnedMap(p.path(countsPin), nil)
	if err != nil {
		return nil
	}
	if spec.Compatible(m) != nil {
		m.Close()
		return nil
	}
	return m
}

// keep pins a map, in the place of whatever had the name. Without pins it does nothing.
func (p pins) keep(name string, m *ebpf.Map) error {
	if p.err != nil {
		return nil
	}
	os.Remove(p.path(name))
	if err := m.Pin(p.path(name)); err != nil {
		return fmt.Errorf("express: pinning %s: %w", p.path(name), err)
	}
	return nil
}

// remove takes the folder away, and with it the last hold on whatever is pinned there.
func (p pins) remove() error {
	if p.err != nil {
		return nil
	}
	if err := os.RemoveAll(p.folder); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("express: removing pins: %w", err)
	}
	return nil
}
