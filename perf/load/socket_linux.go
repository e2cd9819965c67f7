package load

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// receiveBuffer is what a UDP sink asks for: some 20 ms of a million small packets per second, so
// that what is measured is the fabric's loss and not the sink's scheduling.
const receiveBuffer = 8 << 20

// duplicate returns a descriptor of the connection that the runtime's poller doesn't know. File would
// return one that it watches, and wake a thread for every superpacket that nobody asked about.
func duplicate(conn *net.TCPConn) (fd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var failed error
	err = raw.Control(func(own uintptr) {
		fd, failed = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err == nil {
		err = os.NewSyscallError("fcntl", failed)
	}
	return fd, err
}

// Close ends the stream.
func (s *stream) Close() error { return os.NewSyscallError("close", unix.Close(s.fd)) }

// block makes the descriptor blocking; a call that waits longer than patience fails with EAGAIN. The
// limit is what ends a job whose other end hangs: nothing can close a descriptor under a blocked thread.
func (s *stream) block(patience time.Duration) error {
	if err := unix.SetNonblock(s.fd, false); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, option, &limit); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// Read is one recv; io.EOF at the stream's end.
func (s *stream) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, stalled("read", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write sends all of p, in one call where the kernel takes it whole.
func (s *stream) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Write(s.fd, p[done:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return done, stalled("write", err)
		default:
			done += n
		}
	}
	return done, nil
}

// stalled explains the EAGAIN of a blocking descriptor: its time limit has passed.
func stalled(call string, err error) error {
	if err == unix.EAGAIN {
		return fmt.Errorf("nothing moved for %v: %w", grace, os.ErrDeadlineExceeded)
	}
	return os.NewSyscallError(call, err)
}

// growReceiveBuffer asks for a large buffer, past net.core.rmem_max where this process may.
func growReceiveBuffer(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("growing the receive buffer: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		// FORCE needs CAP_NET_ADMIN, which every process of a lab has; tests over loopback may not.
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
		if failed == syscall.EPERM {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		}
	})
	if err == nil {
		err = failed
	}
	return os.NewSyscallError("setsockopt", err)
}
