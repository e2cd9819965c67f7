package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of the arrays that are made once for each socket.
const (
	sendMessages  = 64   // messages of one sendmmsg
	sendPieces    = 1024 // iovecs of one sendmmsg, over all messages
	receiveBytes  = 65536
	receiveStride = receiveBytes + 24*64 // from buffer to buffer: in step, small datagrams would share few cache sets
	controlBytes  = 32                   // one cmsg with a 4-byte number, twice over
	sockaddrBytes = unix.SizeofSockaddrInet6
)

// mmsghdr is struct mmsghdr (recvmmsg(2)). Go pads its end as C does: both to a pointer's alignment.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32 // bytes received; the kernel's, not ours
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
	receiveCount    int // messages that the next receive asks for
}

// newUDPDescriptor prepares everything that doesn't change from call to call. The receive buffer is
// one slab, so that trains follow each other in memory; 1 MiB of its 4 is resident once trains have filled it. It lies outside
// of the heap, whose collector would let so much more garbage lie about, and goes with the descriptor: what
// receive handed out may still be looked at after close.
func newUDPDescriptor(fd int, batch bool) (*udpDescriptor, error) {
	w, err := newWaiter(fd)
	if err != nil {
		return nil, err
	}
	slab, err := unix.Mmap(-1, 0, receiveMessages*receiveStride, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		w.close()
		return nil, fmt.Errorf("mapping %d bytes to receive into: %w", receiveMessages*receiveStride, err)
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
		receiveCount:    receiveFew,
		receiveBuffer:   slab,
	}
	runtime.AddCleanup(d, func(slab []byte) { unix.Munmap(slab) }, slab)
	if batch {
		d.batch = sendMessages
	}
	for i := range d.receiveHeaders {
		d.receiveIovecs[i].Base = &d.receiveBuffer[i*receiveStride]
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
			break // the caller sends the rest in another call
		}
		n := d.gather(d.sendIovecs[used:], out[run.First:][:run.Count])
		h := &d.sendHeaders[messages].hdr
		h.Iov = &d.sendIovecs[used]
		h.SetIovlen(n)
		h.Name, h.Namelen = &d.sendNames[messages][0], putSockaddr(&d.sendNames[messages], &out[run.First].Addr)
		h.Control, h.Controllen = nil, 0
		if run.Count > 1 { // a run of one takes the kernel's shorter path without the message
			h.Control = &d.sendControls[messages][0]
			h.SetControllen(putSegmentSize(d.sendControls[messages][:], run.SegmentSize))
		}
		messages, used = messages+1, used+n
	}
	// MSG_DONTWAIT: a raw system call that slept would keep its processor from the rest of the program.
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(d.fd), uintptr(unsafe.Pointer(&d.sendHeaders[0])),
		uintptr(messages), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// gather lists the bytes of a run's datagrams and returns how many pieces there are; iovecs has room
// for two each. UDP_SEGMENT cuts by bytes and doesn't care where pieces end, which is why head and
// payload needn't lie together.
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
	count := min(len(in), d.batch, d.receiveCount)
	for i := range count {
		h := &d.receiveHeaders[i].hdr
		// The kernel wrote what it used last time.
		h.Namelen = sockaddrBytes
		h.SetControllen(controlBytes)
	}
	got, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(d.fd), uintptr(unsafe.Pointer(&d.receiveHeaders[0])),
		uintptr(count), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	bytes := 0
	for i := range int(got) {
		m := &d.receiveHeaders[i]
		at := i * receiveStride
		in[i] = Datagram{
			Addr:        addrOf(&d.receiveNames[i]),
			Payload:     d.receiveBuffer[at : at+int(m.len) : at+int(m.len)],
			SegmentSize: segmentSizeOf(d.receiveControls[i][:m.hdr.Controllen]),
		}
		if in[i].SegmentSize >= int(m.len) {
			in[i].SegmentSize = 0 // a train of one
		}
		bytes += int(m.len)
	}
	d.receiveCount = nextReceive(d.receiveCount, int(got), bytes)
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

// wait implements udpCalls. Errors of the socket count as ready: the next call reports them.
func (d *udpDescriptor) wait(write bool) syscall.Errno {
	if write {
		return d.waiter.wait(unix.POLLOUT, -1)
	}
	return d.waiter.wait(unix.POLLIN, -1)
}

func (d *udpDescriptor) wake() { d.waiter.wake() }

func (d *udpDescriptor) close() error { return errors.Join(d.waiter.close(), unix.Close(d.fd)) }
