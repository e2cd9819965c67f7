package tunnel

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// An outletDevice is the TAP device that the outlets of all workers share. Fields are set in the order in which
// OpenOutlets gets them; close undoes as many as there are.
type outletDevice struct {
	fd       int
	name     string
	underlay string
	six      bool // its program serves IPv6
	users    atomic.Int32
	slots    *ebpf.Map
	memory   []byte // of slots, mapped
	program  *ebpf.Program
	link     link.Link

	checking sync.Mutex
	policies *netlink.Handle // of the device's network namespace, as the next
	ethtool  *nl.NetlinkSocket
	family   uint16        // of messages to ethtool
	virtual  bool          // the underlay is no network card, so that its other end may be on this machine
	passes   atomic.Bool   // the underlay takes superpackets as they are
	lookup   atomic.Uint32 // see outletSlot
}

// An outletDescriptor is one outlet's share of the device.
type outletDescriptor struct {
	*outletDevice
	slot   *outletSlot
	iovecs [2]unix.Iovec
}

// write implements outletCalls.
func (d *outletDescriptor) write(pieces [][]byte, wire int) (outletRoute, syscall.Errno) {
	for i, piece := range pieces {
		d.iovecs[i].Base = &piece[0]
		d.iovecs[i].SetLen(len(piece))
	}
	unanswered := routeNotLooked
	atomic.StoreUint32(&d.slot.wire, uint32(wire))
	atomic.StoreUint32(&d.slot.lookup, d.lookup.Load())
	atomic.StoreUint32(&d.slot.answer, uint32(unanswered))
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(d.fd), uintptr(unsafe.Pointer(&d.iovecs[0])), uintptr(len(pieces)))
	return outletRoute(atomic.LoadUint32(&d.slot.answer)), errno
}

// check implements outletCalls.
func (d *outletDevice) check() error {
	d.checking.Lock()
	defer d.checking.Unlock()
	passes := segmentsTunnels(d.ethtool, d.family, d.underlay)
	d.passes.Store(passes)
	d.lookup.Store(fibSkipNeighbour)
	if d.virtual && !passes {
		d.lookup.Store(0)
	}
	policies, err := d.policies.XfrmPolicyList(netlink.FAMILY_ALL)
	switch {
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.ENOENT):
		return nil // a kernel without IPsec
	case err != nil:
		return fmt.Errorf("asking for IPsec policies: %w", err)
	case len(policies) > 0:
		return fmt.Errorf("this host has %d IPsec policies, and superpackets would leave past them", len(policies))
	}
	return nil
}

// whole implements outletCalls.
func (d *outletDevice) whole() bool { return d.passes.Load() }

// close implements outletCalls: the last outlet takes the device with it.
func (d *outletDevice) close() error {
	if d.users.Add(-1) > 0 {
		return nil
	}
	var errs []error
	if d.policies != nil {
		d.policies.Close()
	}
	if d.ethtool != nil {
		d.ethtool.Close()
	}
	if d.link != nil {
		errs = append(errs, d.link.Close())
	}
	if d.program != nil {
		errs = append(errs, d.program.Close())
	}
	if d.memory != nil {
		errs = append(errs, unix.Munmap(d.memory))
	}
	if d.slots != nil {
		errs = append(errs, d.slots.Close())
	}
	return errors.Join(append(errs, unix.Close(d.fd))...)
}
