package tunnel

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// onDescriptor runs set on the socket behind raw.
func onDescriptor(raw syscall.RawConn, set func(fd int) error) error {
	var err error
	if outer := raw.Control(func(fd uintptr) { err = set(int(fd)) }); outer != nil {
		return outer
	}
	return err
}

// udpNoCheck6RX is UDP_NO_CHECK6_RX (include/uapi/linux/udp.h).
const udpNoCheck6RX = 102

// setSocketOptions prepares a UDP socket before it is bound: see ConnOptions and PortableConn.
func setSocketOptions(fd int, v6 bool, options ConnOptions) error {
	if options.ReusePort {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("setting SO_REUSEPORT: %w", err)
		}
	}
	if options.ZeroSums && v6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, udpNoCheck6RX, 1); err != nil {
			return fmt.Errorf("setting UDP_NO_CHECK6_RX: %w", err)
		}
	}
	size := options.BufferBytes
	if size == 0 {
		size = defaultBufferBytes
	}
	if err := setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, size); err != nil {
		return fmt.Errorf("setting SO_RCVBUF to %d: %w", size, err)
	}
	if err := setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, size); err != nil {
		return fmt.Errorf("setting SO_SNDBUF to %d: %w", size, err)
	}
	return setNoFragment(fd, v6)
}

// setBuffer sets a socket buffer past the system's limit if that is allowed, else up to it.
func setBuffer(fd, force, ordinary, size int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, ordinary, size)
}

// setNoFragment has datagrams over the path MTU refused with EMSGSIZE rather than fragmented. An IPv6
// socket is kept to IPv6, so that its peers' addresses never come v4-mapped.
func setNoFragment(fd int, v6 bool) error {
	if !v6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO); err != nil {
			return fmt.Errorf("setting IP_MTU_DISCOVER: %w", err)
		}
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
		return fmt.Errorf("setting IPV6_V6ONLY: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO); err != nil {
		return fmt.Errorf("setting IPV6_MTU_DISCOVER: %w", err)
	}
	return nil
}

// A pathSocket asks the kernel for path MTUs. Only a connected socket can be asked, and connecting the
// conn's own would shut out all other peers; so this one, of the same namespace, is connected to
// each peer in turn and never sends. Off the packets' way: it is used after an EMSGSIZE.
type pathSocket struct {
	mu sync.Mutex
	fd int // -1 when closed
	v6 bool
}

func openPathSocket(local netip.Addr) (*pathSocket, error) {
	domain := unix.AF_INET
	if local.Is6() {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening path MTU socket: %w", err)
	}
	if err := setNoFragment(fd, local.Is6()); err != nil {
		unix.Close(fd)
		return nil, err
	}
	// The same source address takes the same route where routing looks at sources.
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(local, 0))); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("binding path MTU socket to %v: %w", local, err)
	}
	return &pathSocket{fd: fd, v6: local.Is6()}, nil
}

func (p *pathSocket) mtu(peer netip.AddrPort) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd < 0 {
		return 0, fmt.Errorf("asking for path MTU to %v: %w", peer, os.ErrClosed)
	}
	if err := unix.Connect(p.fd, sockaddr(peer)); err != nil {
		return 0, fmt.Errorf("asking for path MTU to %v: %w", peer, err)
	}
	level, option := unix.IPPROTO_IP, unix.IP_MTU
	if p.v6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	mtu, err := unix.GetsockoptInt(p.fd, level, option)
	if err != nil {
		return 0, fmt.Errorf("asking for path MTU to %v: %w", peer, err)
	}
	return mtu, nil
}

func (p *pathSocket) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	fd := p.fd
	if p.fd = -1; fd < 0 {
		return nil
	}
	return unix.Close(fd)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: zoneID(a.Addr().Zone())}
}
