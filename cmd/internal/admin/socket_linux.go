package admin

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// PeerPID returns the process at the other end of a unix socket (SO_PEERCRED), or 0 where that
// can't be told, as across process namespaces.
func PeerPID(conn net.Conn) int {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

// listenPrivate makes the socket with mode 0600. fchmod before bind gives the socket file that mode
// from birth (unix_bind_bsd), so there is no moment at which others could connect.
func listenPrivate(path string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var chmod error
		if err := raw.Control(func(fd uintptr) { chmod = unix.Fchmod(int(fd), 0o600) }); err != nil {
			return err
		}
		return chmod
	}}
	return config.Listen(context.Background(), "unix", path)
}
