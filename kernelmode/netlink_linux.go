package kernelmode

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Netlink is the Kernel of one network namespace. Its sockets and descriptors stay in it, whichever
// thread calls.
type Netlink struct {
	handle *netlink.Handle
	asking int // descriptor of a datagram socket, for ioctls about devices
	ns     netns.NsHandle
}

var _ Kernel = (*Netlink)(nil)

// Open binds to the network namespace of the calling thread. Close it after use.
func Open() (*Netlink, error) {
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("opening the current network namespace: %w", err)
	}
	return open(ns)
}

// OpenAt binds to the network namespace at a path, such as /run/netns/blue or /proc/4711/ns/net.
func OpenAt(path string) (*Netlink, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("opening network namespace %s: %w", path, err)
	}
	return open(ns)
}

func open(ns netns.NsHandle) (*Netlink, error) {
	k := &Netlink{ns: ns}
	err := k.within(func() (err error) {
		if k.asking, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if k.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			unix.Close(k.asking)
		}
		return err
	})
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	return k, nil
}

// Close releases the sockets. Nothing in the kernel changes.
func (k *Netlink) Close() error {
	k.handle.Close()
	return errors.Join(unix.Close(k.asking), k.ns.Close())
}

// within runs f on a thread in the namespace. Where the caller already is in it, no privilege is
// needed. A thread that can't be brought back stays locked, and so ends with its goroutine.
func (k *Netlink) within(f func() error) error {
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("finding the thread's network namespace: %w", err)
	}
	defer here.Close()
	if here.Equal(k.ns) {
		defer runtime.UnlockOSThread()
		return f()
	}
	if err := netns.Set(k.ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering the network namespace: %w", err)
	}
	err = f()
	if back := netns.Set(here); back != nil {
		return errors.Join(err, fmt.Errorf("leaving the network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// Read implements Kernel.
func (k *Netlink) Read(scope Scope) (State, error) {
	var s State
	devices := map[int]string{}
	for _, name := range scope.Devices {
		if err := k.readLink(name, &s, devices); err != nil {
			return State{}, fmt.Errorf("device %s: %w", name, err)
		}
	}
	if len(devices) > 0 {
		if err := errors.Join(k.readAddresses(&s, devices), k.readNeighbours(&s, devices)); err != nil {
			return State{}, err
		}
	}
	if err := k.readRoutes(scope, &s, devices); err != nil {
		return State{}, fmt.Errorf("routes: %w", err)
	}
	return s, k.readSysctls(scope.Sysctls, &s)
}

// Do implements Kernel.
func (k *Netlink) Do(op Op) error {
	if l, ok := op.Object.(Link); ok {
		return k.doLink(op.Verb, l)
	}
	index := 0
	if name := op.Object.Device(); name != "" {
		var err error
		if index, err = k.index(name); err != nil {
			return err
		}
	}
	switch o := op.Object.(type) {
	case Address:
		return k.doAddress(op.Verb, o, index)
	case Neighbour:
		return k.doNeighbour(op.Verb, o, index)
	case FDBEntry:
		return k.doFDB(op.Verb, o, index)
	case Route:
		return k.doRoute(op.Verb, o, index)
	case Sysctl:
		return k.within(func() error { return writeSysctl(o) })
	}
	return fmt.Errorf("operation %v: %w", op, errors.ErrUnsupported)
}
