package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

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
	c := newFastConn(netip.AddrPortFrom(addr, bound), socket, offloads, segments)
	c.path, c.fd = path, fd
	return c, nil
}

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
	o.Batch = modes.Batch != Off
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

// Sizes of the arrays that are made once for each socket.
const (
	sendMessages  = 64   // messages of one sendmmsg
	sendPieces    = 1024 // iovecs of one sendmmsg, over all messages
	receiveBytes  = 65536
	controlBytes  = 32 // one cmsg with a 4-byte number, twice over
	sockaddrBytes = unix.SizeofSockaddrInet6
)

// mmsghdr is struct mmsghdr (recvmmsg(2)).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// udpDescriptor makes the system calls of one socket. Reading and writing use separate arrays, since
// two goroutines do so.
type udpDescriptor struct {
	fd     int
	batch  int // messages of one call: sendMessages, or 1
	waiter waiter

	sendHeaders  []mmsghdr
	sendNames    [][sockaddrBytes]byte
	sendIovecs   []unix.Iovec
	sendControls [][controlBytes]byte

	receiveHeaders  []mmsghdr
	receiveNames    [][sockaddrBytes]byte
	receiveIovecs   []unix.Iovec
	receiveControls [][controlBytes]byte
	receiveBuffer   []byte
}

func newUDPDescriptor(fd int, batch bool) (*udpDescriptor, error) {
	w, err := newWaiter(fd)
	if err != nil {
		return nil, err
	}
	d := &udpDescriptor{
		fd: fd, batch: 1, waiter: w,
		sendHeaders:     make([]mmsghdr, sendMessages),
		sendNames:       make([][sockaddrBytes]byte, sendMessages),
		sendIovecs:      make([]unix.Iovec, sendPieces),
		sendControls:    make([][controlBytes]byte, sendMessages),
		receiveHeaders:  make([]mmsghdr, receiveMessages),
		receiveNames:    make([][sockaddrBytes]byte, receiveMessages),
		receiveIovecs:   make([]unix.Iovec, receiveMessages),
		receiveControls: make([][controlBytes]byte, receiveMessages),
		receiveBuffer:   make([]byte, receiveMessages*receiveBytes),
	}
	if batch {
		d.batch = sendMessages
	}
	for i := range d.receiveHeaders {
		d.receiveIovecs[i].Base = &d.receiveBuffer[i*receiveBytes]
		d.receiveIovecs[i].SetLen(receiveBytes)
		h := &d.receiveHeaders[i].hdr
		h.Name, h.Iov = &d.receiveNames[i][0], &d.receiveIovecs[i]
		h.Control = &d.receiveControls[i][0]
		h.SetIovlen(1)
	}
	return d, nil
}

// send fills as many messages as fit the arrays and makes one call.
func (d *udpDescriptor) send(out []Datagram, runs []Run) (sent int, errno syscall.Errno) {
	messages, used := 0, 0
	for messages < min(len(runs), d.batch) {
		run := runs[messages]
		if messages > 0 && used+2*run.Count > len(d.sendIovecs) {
			break
		}
		n := d.gather(d.sendIovecs[used:], out[run.First:][:run.Count])
		h := &d.sendHeaders[messages].hdr
		h.Iov = &d.sendIovecs[used]
		h.SetIovlen(n)
		h.Name, h.Namelen = &d.sendNames[messages][0], putSockaddr(&d.sendNames[messages], &out[run.First].Addr)
		h.Control, h.Controllen = nil, 0
		if run.Count > 1 {
			h.Control = &d.sendControls[messages][0]
			h.SetControllen(putSegmentSize(d.sendControls[messages][:], run.SegmentSize))
		}
		messages, used = messages+1, used+n
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(d.fd), uintptr(unsafe.Pointer(&d.sendHeaders[0])),
		uintptr(messages), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// gather lists the bytes of a run's datagrams, joining what lies next to each other in memory, and
// returns how many pieces there are. iovecs has room for two each.
func (d *udpDescriptor) gather(iovecs []unix.Iovec, out []Datagram) (n int) {
	for i := range out {
		for _, piece := range [2][]byte{out[i].Head, out[i].Payload} {
			if len(piece) == 0 {
				continue
			}
			iovecs[n].Base = &piece[0]
			iovecs[n].SetLen(len(piece))
			n++
		}
	}
	return n
}

// putSegmentSize writes the UDP_SEGMENT control message and returns its length.
func putSegmentSize(b []byte, size int) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], uint16(size))
	return unix.CmsgSpace(2)
}

// receive makes one call and hands out what came.
func (d *udpDescriptor) receive(in []Datagram) (n int, errno syscall.Errno) {
	count := min(len(in), d.batch, len(d.receiveHeaders))
	for i := range count {
		h := &d.receiveHeaders[i].hdr
		h.Namelen = sockaddrBytes
		h.SetControllen(controlBytes)
	}
	got, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(d.fd), uintptr(unsafe.Pointer(&d.receiveHeaders[0])),
		uintptr(count), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	for i := range int(got) {
		m := &d.receiveHeaders[i]
		at := i * receiveBytes
		in[i] = Datagram{
			Addr:        addrOf(&d.receiveNames[i]),
			Payload:     d.receiveBuffer[at : at+int(m.len) : at+int(m.len)],
			SegmentSize: segmentSizeOf(d.receiveControls[i][:m.hdr.Controllen]),
		}
		if in[i].SegmentSize >= int(m.len) {
			in[i].SegmentSize = 0 // a train of one
		}
	}
	return int(got), 0
}

// segmentSizeOf finds the UDP_GRO control message; 0 when there is none.
func segmentSizeOf(b []byte) int {
	if len(b) < unix.CmsgLen(4) {
		return 0
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	if h.Level != unix.IPPROTO_UDP || h.Type != unix.UDP_GRO {
		return 0
	}
	return int(int32(binary.NativeEndian.Uint32(b[unix.CmsgLen(0):])))
}

func (d *udpDescriptor) wait(write bool) syscall.Errno {
	if write {
		return d.waiter.wait(unix.POLLOUT, -1)
	}
	return d.waiter.wait(unix.POLLIN, -1)
}

func (d *udpDescriptor) wake() { d.waiter.wake() }

func (d *udpDescriptor) close() error { return errors.Join(d.waiter.close(), unix.Close(d.fd)) }

// putSockaddr writes struct sockaddr_in or sockaddr_in6 and returns its length.
func putSockaddr(b *[sockaddrBytes]byte, to *netip.AddrPort) uint32 {
	binary.BigEndian.PutUint16(b[2:], to.Port())
	ip := to.Addr()
	if ip.Is4() {
		binary.NativeEndian.PutUint16(b[:], unix.AF_INET)
		a := ip.As4()
		copy(b[4:], a[:])
		clear(b[8:16])
		return unix.SizeofSockaddrInet4
	}
	binary.NativeEndian.PutUint16(b[:], unix.AF_INET6)
	clear(b[4:8])
	a := ip.As16()
	copy(b[8:], a[:])
	binary.NativeEndian.PutUint32(b[24:], 0)
	if zone := ip.Zone(); zone != "" { // link-local underlays only
		binary.NativeEndian.PutUint32(b[24:], zoneID(zone))
	}
	return unix.SizeofSockaddrInet6
}

// addrOf reads what recvmmsg wrote. A zone is left out: the lease names peers without one.
func addrOf(b *[sockaddrBytes]byte) netip.AddrPort {
	port := binary.BigEndian.Uint16(b[2:])
	if binary.NativeEndian.Uint16(b[:]) == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), port)
}
