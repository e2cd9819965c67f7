package tunnel

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tunDescriptor makes the system calls of one queue. Those that don't wait are raw: the scheduler
// needn't hear of them, which is worth a twentieth of a superpacket's cost.
type tunDescriptor struct {
	fd     int
	waiter waiter
	iovecs []unix.Iovec
}

// newTUNDescriptor takes fd over: close closes it. Non-blocking is set on the open file, not on the
// number, so it holds for every copy of fd.
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

// read implements tunCalls. A TUN read is one packet, and truncates what doesn't fit: b has room for
// the largest there is.
func (d *tunDescriptor) read(b []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(d.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

// write implements tunCalls. The kernel copies the pieces into one packet buffer, so that borrowed
// payload may be reused as soon as this returns.
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
