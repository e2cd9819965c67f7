package forwarder

import (
	"fmt"
	"unsafe"

	"weft/tunnel"

	"golang.org/x/sys/unix"
)

// A poller waits until any of several descriptors can be read, or until it is woken for good.
type poller struct {
	fds []unix.PollFd // the last one is the wake-up's
}

func newPoller(all []tunnel.Pollable) (*poller, error) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("creating wake-up event: %w", err)
	}
	p := &poller{}
	for _, one := range all {
		p.fds = append(p.fds, unix.PollFd{Fd: int32(one.FD()), Events: unix.POLLIN})
	}
	p.fds = append(p.fds, unix.PollFd{Fd: int32(event), Events: unix.POLLIN})
	return p, nil
}

// wait returns when something can be read, has failed, or wake was called.
func (p *poller) wait() error {
	_, _, errno := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p.fds[0])), uintptr(len(p.fds)), 0, 0, 0, 0)
	if errno != 0 && errno != unix.EINTR && errno != unix.EAGAIN {
		return fmt.Errorf("waiting for packets: %w", errno)
	}
	return nil
}

// wake ends this and every later wait. It may be called from any goroutine until close.
func (p *poller) wake() {
	one := [8]byte{7: 1} // any number but 0, in any byte order
	unix.Write(int(p.fds[len(p.fds)-1].Fd), one[:])
}

// close releases the wake-up event, once nobody waits any more.
func (p *poller) close() { unix.Close(int(p.fds[len(p.fds)-1].Fd)) }

// yieldCore lets other runnable threads of this core go first, sched_yield(2): for a thread that the
// scheduler of Go has nothing else to run on.
func yieldCore() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
