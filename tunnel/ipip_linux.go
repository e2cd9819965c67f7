package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// ListenIPIPConn opens a raw socket for IPv4 in IPv4 on a local address, in the network namespace of the
// calling thread. Datagrams are inner packets; the ports of their addresses are 0. There are no runs
// and no trains, since UDP_SEGMENT and UDP_GRO are UDP's; but what a kernel peer sends over an underlay
// that passes GSO comes whole here too. Of modes Batch is looked at. It needs CAP_NET_RAW.
func ListenIPIPConn(local netip.Addr, part Part, options ConnOptions, modes Modes) (*FastConn, error) {
	if !local.Is4() {
		return nil, fmt.Errorf("listening for IPIP on %v: not an IPv4 address", local)
	}
	if part.Of < 0 || part.Index < 0 || part.Index >= max(part.Of, 1) {
		return nil, fmt.Errorf("listening for IPIP on %v: there is no part %d of %d", local, part.Index, part.Of)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocolIPIP)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("listening for IPIP on %v: opening a raw socket: %w: run as root or with CAP_NET_RAW", local, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listening for IPIP on %v: opening a raw socket: %w", local, err)
	}
	c, err := ipipConnOf(fd, local, part, options, modes)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listening for IPIP on %v: %w", local, err)
	}
	return c, nil
}

// ipipConnOf prepares and binds an open socket, which stays the caller's on error.
func ipipConnOf(fd int, local netip.Addr, part Part, options ConnOptions, modes Modes) (*FastConn, error) {
	at := netip.AddrPortFrom(local, 0)
	options.ReusePort = false // raw sockets have no port to share
	if err := setSocketOptions(fd, false, options); err != nil {
		return nil, err
	}
	if err := setPart(fd, part); err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, sockaddr(at)); err != nil {
		return nil, fmt.Errorf("binding: %w: choose an address of this host with --iface or --public-ip", err)
	}
	path, err := openPathSocket(local)
	if err != nil {
		return nil, err
	}
	offloads := Offloads{Batch: modes.Batch != Off}
	socket, err := newUDPDescriptor(fd, offloads.Batch)
	if err != nil {
		path.close()
		return nil, err
	}
	c := newFastConn(at, ipipDescriptor{socket}, offloads, 1)
	c.path, c.fd = path, fd
	return c, nil
}

// An ipipDescriptor is a udpDescriptor whose datagrams come with their outer header.
type ipipDescriptor struct{ *udpDescriptor }

// receive implements udpCalls.
func (d ipipDescriptor) receive(in []Datagram) (n int, errno syscall.Errno) {
	got, errno := d.udpDescriptor.receive(in)
	for i := range got {
		if takeOuter(&in[i]) {
			in[n] = in[i]
			n++
		}
	}
	return n, errno
}

// setPart has a socket take only its part of the packets, by the inner addresses: one flow, one socket. The
// classic BPF program sees the outer header first.
func setPart(fd int, part Part) error {
	if part.Of <= 1 {
		return nil
	}
	const spread = 0x9e3779b1 // 2^32 / the golden ratio: neighbours end up far apart
	program := []unix.SockFilter{
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},              // x = outer header length
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_IND, K: ipv4Source},      // inner source
		{Code: unix.BPF_ST, K: 0},                                           //
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_IND, K: ipv4Destination}, // inner destination
		{Code: unix.BPF_LDX | unix.BPF_MEM, K: 0},
		{Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_X},
		{Code: unix.BPF_ALU | unix.BPF_MUL | unix.BPF_K, K: spread},
		{Code: unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K, K: 16},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(part.Of)},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(part.Index), Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff}, // all of it
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter); err != nil {
		return fmt.Errorf("attaching the filter of part %d of %d: %w", part.Index, part.Of, err)
	}
	return nil
}
