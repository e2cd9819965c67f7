package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// ConnOptions says how a UDP socket is opened.
type ConnOptions struct {
	// ReusePort lets several conns share one address and port (SO_REUSEPORT): one a worker. The
	// kernel spreads the peers' flows over them by source port. All of them must set it.
	ReusePort bool
	// BufferBytes is asked for each of the two socket buffers; 0 means 4 MiB. Without CAP_NET_ADMIN the
	// kernel gives no more than net.core.rmem_max and wmem_max.
	BufferBytes int
	// ZeroSums has datagrams over IPv6 taken that have no UDP checksum, as over IPv4 they always are (RFC 6936):
	// the express lane of a peer sends such, whose inner packets have checksums of their own.
	ZeroSums bool
}

const defaultBufferBytes = 4 << 20

// Sizes of the portable conn's batches. Every receive buffer holds the largest UDP payload, since a
// peer's superpacket may arrive in one datagram; only touched pages are resident.
const (
	portableReadBatch  = 32
	portableWriteBatch = 64
	datagramBytes      = 65535
)

// PortableConn is the Conn that runs on every kernel: golang.org/x/net batches, one message a
// datagram, without UDP_SEGMENT and UDP_GRO. Reading allocates the source address of each datagram.
//
// Datagrams leave with DF set and are never fragmented outside (IP_PMTUDISC_DO): one that is over
// the path MTU, as far as the kernel has learned it, fails with EMSGSIZE. So the data path learns the
// path MTU and tells the inner sender, instead of having the underlay lose halves of packets.
// flannel's udp peers are no exception: they take any datagram up to their own MTU, and what they
// send arrives here reassembled.
type PortableConn struct {
	socket *net.UDPConn
	batch  batcher
	path   *pathSocket
	local  netip.AddrPort
	closed atomic.Bool
	in     []ipv4.Message
	out    []ipv4.Message
}

// A batcher is what ipv4.PacketConn and ipv6.PacketConn have in common; their Message is one type.
type batcher interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

// ListenPortableConn opens a UDP socket on local, in the network namespace of the calling thread. An
// unspecified address takes every address of its family; IPv6 sockets carry IPv6 only, so a dual
// stack host listens twice. Port 0 picks a free one. The error names address, port and remedy when
// another program has it.
func ListenPortableConn(local netip.AddrPort, options ConnOptions) (*PortableConn, error) {
	addr := local.Addr()
	if !addr.IsValid() || addr.Is4In6() {
		return nil, fmt.Errorf("listening on %v: not an IPv4 or IPv6 address", local)
	}
	network := "udp6"
	if addr.Is4() {
		network = "udp4"
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return onDescriptor(raw, func(fd int) error { return setSocketOptions(fd, addr.Is6(), options) })
	}}
	packetConn, err := config.ListenPacket(context.Background(), network, local.String())
	if err != nil {
		return nil, listenError(local, err)
	}
	socket := packetConn.(*net.UDPConn)
	bound := socket.LocalAddr().(*net.UDPAddr).AddrPort()
	c := &PortableConn{socket: socket, local: netip.AddrPortFrom(bound.Addr().Unmap().WithZone(addr.Zone()), bound.Port())}
	if c.path, err = openPathSocket(addr); err != nil {
		socket.Close()
		return nil, fmt.Errorf("listening on %v: %w", local, err)
	}
	if addr.Is4() {
		c.batch = ipv4.NewPacketConn(socket)
	} else {
		c.batch = ipv6.NewPacketConn(socket)
	}
	c.makeMessages()
	return c, nil
}

// listenError adds what to do about a port in use and about an address that isn't there.
func listenError(local netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listening on %v: UDP port %d is in use by another program, maybe a second weft agent or flanneld "+
			"(ss -lunp shows which): stop it, or set another Port in the network config's Backend: %w", local, local.Port(), syscall.EADDRINUSE)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listening on %v: this host does not have the address: choose one it has with --iface or --public-ip: %w",
			local, syscall.EADDRNOTAVAIL)
	}
	return fmt.Errorf("listening on %v: %w", local, err)
}

func (c *PortableConn) makeMessages() {
	slab := make([]byte, portableReadBatch*datagramBytes)
	c.in = make([]ipv4.Message, portableReadBatch)
	for i := range c.in {
		at := i * datagramBytes
		c.in[i].Buffers = [][]byte{slab[at : at+datagramBytes : at+datagramBytes]}
	}
	c.out = make([]ipv4.Message, portableWriteBatch)
	for i := range c.out {
		c.out[i].Buffers = make([][]byte, 0, 2)
		c.out[i].Addr = &net.UDPAddr{IP: make(net.IP, 0, net.IPv6len)}
	}
}

// ReadBatch implements Conn.
func (c *PortableConn) ReadBatch(in []Datagram) (n int, err error) {
	messages := c.in[:min(len(in), len(c.in))]
	for {
		n, err = c.batch.ReadBatch(messages, 0)
		if err == nil {
			break
		}
		if c.closed.Load() || errors.Is(err, net.ErrClosed) {
			return 0, os.ErrClosed
		}
		if !aboutPeer(err) {
			return 0, fmt.Errorf("receiving on %v: %w", c.local, err)
		}
	}
	for i := range n {
		m := &messages[i]
		from := m.Addr.(*net.UDPAddr).AddrPort()
		in[i] = Datagram{
			Addr:    netip.AddrPortFrom(from.Addr().Unmap(), from.Port()),
			Payload: m.Buffers[0][:m.N],
		}
	}
	return n, nil
}

// aboutPeer reports whether an error that came with receiving speaks of some earlier datagram's fate,
// or of a lack that passes, and so not of this socket.
func aboutPeer(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN,
		syscall.EMSGSIZE, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.EACCES, syscall.EPERM, syscall.EINTR,
		syscall.EAGAIN, syscall.ENOBUFS, syscall.ENOMEM:
		return true
	}
	return false
}

// WriteBatch implements Conn. A full transmit queue (ENOBUFS) is waited for here, a few times and
// shortly, since only here the datagrams behind it can wait too and keep their order.
func (c *PortableConn) WriteBatch(out []Datagram) (n int, err error) {
	for len(out) > 0 {
		chunk := out[:min(len(out), len(c.out))]
		out = out[len(chunk):]
		for i := range chunk {
			c.fill(&c.out[i], &chunk[i])
		}
		sent, err := c.writeChunk(chunk)
		n += sent
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// fullRetries and fullPause bound the wait for a full transmit queue: 300 µs in all.
const (
	fullRetries = 3
	fullPause   = 100 * time.Microsecond
)

// writeChunk sends c.out[:len(chunk)]. Every call sends up to the first message that fails; an error
// comes back only when that is the first one.
func (c *PortableConn) writeChunk(chunk []Datagram) (sent int, err error) {
	retries := fullRetries
	for i := 0; i < len(chunk); {
		n, err := c.batch.WriteBatch(c.out[i:len(chunk)], 0)
		if n > 0 {
			i, sent, retries = i+n, sent+n, fullRetries
			continue
		}
		var errno syscall.Errno
		switch {
		case c.closed.Load() || errors.Is(err, net.ErrClosed):
			return sent, os.ErrClosed
		case !errors.As(err, &errno):
			return sent, fmt.Errorf("sending from %v: %w", c.local, err)
		case errno == syscall.ENOBUFS && retries > 0:
			retries--
			time.Sleep(fullPause)
			continue
		}
		chunk[i].Errno = errno
		i, retries = i+1, fullRetries
	}
	return sent, nil
}

// fill makes a message of a datagram without allocating.
func (c *PortableConn) fill(m *ipv4.Message, d *Datagram) {
	d.Errno = 0
	m.Buffers = append(m.Buffers[:0], d.Head, d.Payload)
	to, ip := m.Addr.(*net.UDPAddr), d.Addr.Addr()
	if ip.Is4() {
		b := ip.As4()
		to.IP = append(to.IP[:0], b[:]...)
	} else {
		b := ip.As16()
		to.IP = append(to.IP[:0], b[:]...)
	}
	to.Port, to.Zone = int(d.Addr.Port()), ip.Zone()
}

// PathMTU returns the largest IP packet, in bytes, outer headers included, that the kernel at present
// believes the path to a peer takes: the interface's MTU, or less after an ICMP said so.
func (c *PortableConn) PathMTU(peer netip.AddrPort) (int, error) { return c.path.mtu(peer) }

// LocalAddr implements Conn.
func (c *PortableConn) LocalAddr() netip.AddrPort { return c.local }

// Offloads implements Conn.
func (c *PortableConn) Offloads() Offloads { return Offloads{Batch: true} }

// Close implements Conn.
func (c *PortableConn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	err := errors.Join(c.socket.Close(), c.path.close())
	if err != nil {
		return fmt.Errorf("closing socket on %v: %w", c.local, err)
	}
	return nil
}

var _ Conn = (*PortableConn)(nil)
