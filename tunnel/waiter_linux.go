package tunnel

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A waiter waits for one descriptor with ppoll(2), next to an event that Close sets. The runtime's
// own poller would wake a thread of its own for every packet first.
type waiter struct {
	fd    int
	event int // eventfd, readable for good once wake was called
}

func newWaiter(fd int) (waiter, error) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return waiter{fd: fd, event: event}, err
}

// wait returns 0 when one of events or an error is there or timeoutMs has passed (-1: never), and
// ECANCELED after wake.
func (w waiter) wait(events int16, timeoutMs int) syscall.Errno {
	fds := [2]unix.PollFd{{Fd: int32(w.fd), Events: events}, {Fd: int32(w.event), Events: unix.POLLIN}}
	var timeout *unix.Timespec
	if timeoutMs >= 0 {
		t := unix.NsecToTimespec(int64(timeoutMs) * 1e6)
		timeout = &t
	}
	_, _, errno := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds)), uintptr(len(fds)),
		uintptr(unsafe.Pointer(timeout)), 0, 0, 0)
	if errno == 0 && fds[1].Revents != 0 {
		return unix.ECANCELED
	}
	return errno
}

func (w waiter) wake() {
	one := [8]byte{7: 1}
	unix.Write(w.event, one[:])
}

func (w waiter) close() error { return unix.Close(w.event) }

// yieldCore lets other runnable threads of this core go first, sched_yield(2). runtime.Gosched would only
// look for goroutines.
func yieldCore() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// kernelAtLeast reports whether the running kernel calls itself at least that version.
func kernelAtLeast(major, minor int) bool {
	v := kernelVersion()
	return v[0] > major || v[0] == major && v[1] >= minor
}

// kernelVersion returns the first two numbers of uname -r.
var kernelVersion = sync.OnceValue(func() (v [2]int) {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return v
	}
	i := 0
	for _, c := range name.Release {
		switch {
		case c >= '0' && c <= '9':
			v[i] = v[i]*10 + int(c-'0')
		case c == '.' && i == 0:
			i = 1
		default:
			return v
		}
	}
	return v
})
