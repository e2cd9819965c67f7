package tunnel

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ListenFastConn opens a UDP socket on local in the network namespace of the calling thread, as
// ListenPortableConn does. Of modes GSO, GRO and Batch are looked at; a rung that is On and can't be
// had is an error.
func ListenFastConn(local netip.AddrPort, options ConnOptions, modes Modes) (*FastConn, error) {
	addr := local.Addr()
	if !addr.IsValid() || addr.Is4In6() {
		return nil, fmt.Errorf("listening on %v: not an IPv4 or IPv6 address", local)
	}
	domain := unix.AF_INET6
	if addr.Is4() {
		domain = unix.AF_INET
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("listening on %v: %w", local, err)
	}
	c, err := fastConnOf(fd, local, options, modes)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return c, nil
}

// fastConnOf prepares and binds an open socket, which stays the caller's on error.
func fastConnOf(fd int, local netip.AddrPort, options ConnOptions, modes Modes) (*FastConn, error) {
	addr := local.Addr()
	if err := setSocketOptions(fd, addr.Is6(), options); err != nil {
		return nil, fmt.Errorf("listening on %v: %w", local, err)
	}
	offloads, err := setUDPOffloads(fd, modes)
	if err != nil {
		return nil, fmt.Errorf("listening on %v: %w", local, err)
	}
	if err := unix.Bind(fd, sockaddr(local)); err != nil {
		return nil, listenError(local, err)
	}
	bound, err := boundPort(fd)
	if err != nil {
		return nil, fmt.Errorf("listening on %v: %w", local, err)
	}
	path, err := openPathSocket(addr)
	if err != nil {
		return nil, fmt.Errorf("listening on %v: %w", local, err)
	}
	socket, err := newUDPDescriptor(fd, offloads.Batch)
	if err != nil {
		path.close()
		return nil, fmt.Errorf("listening on %v: %w", local, err)
	}
	segments := runSegmentsOld
	if kernelAtLeast(6, 9) {
		segments = runSegments
	}
	// A version is only the first guess: judgeSize lowers it where a backport says otherwise.
	c := newFastConn(netip.AddrPortFrom(addr, bound), socket, offloads, segments)
	c.path, c.fd = path, fd
	return c, nil
}

// boundPort asks for the port that a bind to port 0 got.
func boundPort(fd int) (uint16, error) {
	name, err := unix.Getsockname(fd)
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		return uint16(name.Port), nil
	case *unix.SockaddrInet6:
		return uint16(name.Port), nil
	}
	return 0, err
}

// setUDPOffloads finds out which rungs the kernel has, and switches trains on.
func setUDPOffloads(fd int, modes Modes) (o Offloads, err error) {
	o.Batch = modes.Batch != Off // recvmmsg is of 2.6.33, sendmmsg of 3.0: older than Go's own minimum
	if modes.GSO != Off {
		// Setting a segment size of 0 changes nothing and fails before Linux 4.18.
		err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0)
		if o.GSO = err == nil; err != nil && modes.GSO == On {
			return o, fmt.Errorf("using UDP_SEGMENT: %w: it needs Linux 4.18, use --offload-gso=auto", err)
		}
	}
	if modes.GRO != Off {
		err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		if o.GRO = err == nil; err != nil && modes.GRO == On {
			return o, fmt.Errorf("using UDP_GRO: %w: it needs Linux 5.0, use --offload-gro=auto", err)
		}
	}
	return o, nil
}
