package tunnel

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// QueueOptions shape the queues that OpenFastQueues opens.
type QueueOptions struct {
	Modes  Modes // TSO, USO and MultiQueue are looked at
	Queues int   // descriptors to open; 0 means 1
}

// OpenFastQueues opens opt.Queues descriptors of the TUN device called name in the network namespace
// of the calling thread, creating the device if there is none ("weft%d": the kernel numbers it). It is
// neither up nor has an address. With MultiQueue off, or auto on a kernel without it, one queue
// comes back. Every queue is the caller's to close; the device goes with the last.
func OpenFastQueues(name string, opt QueueOptions) (queues []*FastQueue, err error) {
	want := max(opt.Queues, 1)
	flags := uint16(unix.IFF_VNET_HDR)
	if want > 1 && opt.Modes.MultiQueue == Off {
		want = 1
	}
	if want > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	fd, err := openTUN(name, flags)
	if err != nil && want > 1 && opt.Modes.MultiQueue == Auto && errors.Is(err, unix.EINVAL) {
		want, flags = 1, unix.IFF_VNET_HDR
		fd, err = openTUN(name, flags)
	}
	for err == nil {
		var q *FastQueue
		if q, err = fastQueueOf(fd, opt.Modes, want > 1); err != nil {
			break
		}
		queues = append(queues, q)
		if len(queues) == want {
			return queues, nil
		}
		fd, err = openTUN(queues[0].name, flags)
	}
	for _, q := range queues {
		q.Close()
	}
	return nil, err
}

// fastQueueOf makes a queue of an attached descriptor, which is closed on error.
func fastQueueOf(fd int, modes Modes, multi bool) (*FastQueue, error) {
	request, err := unix.NewIfreq("")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.TUNGETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("asking a TUN descriptor for its device: %w", err)
	}
	offloads, err := setTUNOffloads(fd, modes)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("opening device %s: %w", request.Name(), err)
	}
	offloads.MultiQueue = multi
	device, err := newTUNDescriptor(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("opening device %s: %w", request.Name(), err)
	}
	limits := coalesceLimits{tcp: offloads.TSO, udp: offloads.USO, udpSegments: udpSegmentsOld}
	if kernelAtLeast(6, 9) {
		limits.udpSegments = udpSegmentsNew
	}
	q := newFastQueue(request.Name(), device, offloads, limits)
	q.fd = fd
	return q, nil
}

// setTUNOffloads asks for the superpackets that modes allow, and returns what the kernel granted.
// A partial checksum (TUN_F_CSUM) is always asked for: every kernel with IFF_VNET_HDR has it.
func setTUNOffloads(fd int, modes Modes) (o Offloads, err error) {
	const tcp = unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	const udp = unix.TUN_F_USO4 | unix.TUN_F_USO6
	flags := unix.TUN_F_CSUM
	if modes.TSO != Off {
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags|tcp); err == nil {
			flags |= tcp
			o.TSO = true
		} else if modes.TSO == On {
			return o, fmt.Errorf("switching TCP segmentation offload on: %w: use --offload-tso=auto", err)
		}
	}
	if modes.USO != Off {
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags|udp); err == nil {
			flags |= udp
			o.USO = true
		} else if modes.USO == On {
			return o, fmt.Errorf("switching UDP segmentation offload on: %w: it needs Linux 6.2, use --offload-uso=auto", err)
		}
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags); err != nil {
		return o, fmt.Errorf("switching checksum offload on: %w", err)
	}
	return o, nil
}

// tunDescriptor makes the system calls of one queue. Those that don't wait are raw: the scheduler
// needn't hear of them, which is worth a twentieth of a superpacket's cost.
type tunDescriptor struct {
	fd     int
	waiter waiter
	iovecs []unix.Iovec
}

func newTUNDescriptor(fd int) (*tunDescriptor, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	w, err := newWaiter(fd)
	if err != nil {
		return nil, err
	}
	return &tunDescriptor{fd: fd, waiter: w, iovecs: make([]unix.Iovec, tcpSegments+1)}, nil
}

func (d *tunDescriptor) read(b []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(d.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

func (d *tunDescriptor) write(pieces [][]byte) syscall.Errno {
	n := 0
	for _, piece := range pieces {
		if len(piece) == 0 {
			continue
		}
		d.iovecs[n].Base = &piece[0]
		d.iovecs[n].SetLen(len(piece))
		n++
	}
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(d.fd), uintptr(unsafe.Pointer(&d.iovecs[0])), uintptr(n))
	return errno
}

func (d *tunDescriptor) wait() syscall.Errno { return d.waiter.wait(unix.POLLIN, -1) }

func (d *tunDescriptor) wake() { d.waiter.wake() }

func (d *tunDescriptor) close() error { return errors.Join(d.waiter.close(), unix.Close(d.fd)) }
