package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"
)

// An Outlet puts TCP superpackets onto the wire whole: inner packet, encapsulation and outer headers in one
// write, which the kernel segments where a device on the way can't, if any. What leaves is what a kernel's
// own tunnel device sends. Against UDP_SEGMENT this spares the inner checksums, and a kernel peer the work
// of decapsulating every segment by itself: its VXLAN socket takes no run, so that runs are cut up first.
//
//	TUN ─read─▶ [IP TCP payload ······] ─writev─▶ outlet device ─program─▶ route, neighbour, underlay device
//	             outer headers in front
//
// The device is a TAP (the kernel takes no encapsulated superpacket without Ethernet in front), and its program looks
// up the route and sends the frame on. So the host needn't forward, and neither source checks nor the firewall
// see these frames, nor does IPsec: where this network namespace has IPsec policies, nothing takes this way.
// What the program answers is read back after each write, which is why the outlet knows whether a packet
// has left, and what is refused can still go through a Conn.
//
// It needs Linux 6.17 (TUN_F_UDP_TUNNEL_GSO) and the right to load a program.
//
// One goroutine sends; everything else is safe to call from any.
type Outlet struct {
	gate     gate
	device   outletCalls
	slot     byte // which of the device's outlets this is
	six      bool // over IPv6 too
	refusals int  // in a row
	off      atomic.Pointer[string]
	head     [outletHeadRoom]byte
	pieces   [2][]byte
}

// outletCalls is what an Outlet needs of the kernel. Tests put faults in between.
type outletCalls interface {
	// write hands over one frame, in pieces, the first beginning with the virtio header. wire is the length of
	// the largest IP packet that it falls into. route is what the program answered; it only counts
	// where errno is 0.
	write(pieces [][]byte, wire int) (route outletRoute, errno syscall.Errno)
	// check looks at the host again: it says why superpackets must not leave this way at present, nil if they
	// may, and notes what whole is to report.
	check() error
	whole() bool
	close() error
}

// outletRoute is the program's answer: what bpf_fib_lookup returned, or that nobody looked.
type outletRoute int32

const (
	routeFound     outletRoute = 0 // and the frame sent there
	routeNoForward outletRoute = 5 // BPF_FIB_LKUP_RET_FWD_DISABLED
	routeTooBig    outletRoute = 8 // BPF_FIB_LKUP_RET_FRAG_NEEDED
	routeNotLooked outletRoute = -1 << 31
)

// outletPatience is how many superpackets in a row may be refused before the outlet goes off: one strange
// packet must not cost all others their speed.
const outletPatience = 8

// errNotForOutlet is about a packet that Takes would have refused.
var errNotForOutlet = errors.New("sending through outlet: not a superpacket that it takes")

// Whole reports whether the underlay device takes encapsulated superpackets as they are, as it was at the last
// Recheck: veth and virtio do, and network cards that segment tunnels. Elsewhere the kernel segments in
// front of it.
func (o *Outlet) Whole() bool { return o.device.whole() }

// Takes reports whether a packet can go through the outlet to an outer address: a superpacket of TCP whose
// checksum is partial. head is the length of the encapsulation header, at most 64.
func (o *Outlet) Takes(p *Packet, to netip.Addr, head int) bool {
	return (p.GSO.Kind == GSOTCP4 || p.GSO.Kind == GSOTCP6) && p.GSO.PartialChecksum && (to.Is4() || o.six && to.Zone() == "") &&
		head <= outletEncapRoom && outerLen(to)+head+len(p.Data) <= 65535 && o.off.Load() == nil
}

// Send puts p onto the wire behind the outer headers of a datagram between two sockets, and the encapsulation
// header head. limit is the largest segment in bytes, inner IP header included; 0: none but p's own. p and
// head are borrowed until it returns, and not changed.
//
// An error means that nothing was sent, and that the packet should go through a Conn: EMSGSIZE where its
// segments are over the path MTU, EHOSTUNREACH without a route, ENOBUFS, os.ErrClosed, or what makes the outlet
// go off.
func (o *Outlet) Send(p *Packet, head []byte, from, to netip.AddrPort, limit int) error {
	size := int(p.GSO.SegmentSize)
	if limit > 0 {
		size = min(size, limit-int(p.GSO.HeaderLen))
	}
	if size <= 0 || !o.Takes(p, to.Addr(), len(head)) || from.Addr().Is4() != to.Addr().Is4() || from.Addr().IsUnspecified() {
		return errNotForOutlet
	}
	if err := o.gate.enter(); err != nil {
		return err
	}
	defer o.gate.leave() // a superpacket, not a segment
	n := putOutlet(o.head[:], p, outletPlace{slot: o.slot, from: from, to: to, head: head, size: size})
	o.pieces = [2][]byte{o.head[:n], p.Data}
	wire := outerLen(to.Addr()) + len(head) + int(p.GSO.HeaderLen) + size
	route, errno := o.device.write(o.pieces[:], wire)
	for errno == syscall.EINTR {
		route, errno = o.device.write(o.pieces[:], wire)
	}
	return o.judge(route, errno)
}

// judge is the error table: what became of a frame.
func (o *Outlet) judge(route outletRoute, errno syscall.Errno) error {
	switch {
	case errno == syscall.ENOBUFS, errno == syscall.ENOMEM, errno == syscall.EAGAIN:
		return syscall.ENOBUFS // a shortage passes
	case errno != 0:
		o.refused(fmt.Sprintf("writing a superpacket: %v", errno))
		return errno
	case route == routeFound:
		o.refusals = 0
		return nil
	case route == routeTooBig:
		o.refusals = 0
		return syscall.EMSGSIZE
	case route == routeNotLooked:
		o.refused("its program was detached")
	case route == routeNoForward:
		o.refused("forwarding was switched off on its device")
	}
	return syscall.EHOSTUNREACH
}

// refused counts what no other packet will fare better with.
func (o *Outlet) refused(why string) {
	if o.refusals++; o.refusals >= outletPatience {
		o.TurnOff(why)
	}
}

// TurnOff has the outlet take nothing from now on; why ends up in LoweredBy.
func (o *Outlet) TurnOff(why string) {
	why = "UDP tunnel GSO off: " + why
	o.off.CompareAndSwap(nil, &why)
}

// LoweredBy says why the outlet takes nothing any more, "" while it does.
func (o *Outlet) LoweredBy() string {
	if why := o.off.Load(); why != nil {
		return *why
	}
	return ""
}

// Recheck looks whether the underlay device still takes superpackets as they are, and turns the outlet off where
// the host has IPsec policies by now. Call it every few seconds, whatever
// namespace the thread is in.
func (o *Outlet) Recheck() {
	if o.off.Load() != nil || o.gate.enter() != nil {
		return
	}
	defer o.gate.leave()
	if err := o.device.check(); err != nil {
		o.TurnOff(err.Error())
	}
}

// Close releases the device, which goes with its last outlet. Safe to call more than once.
func (o *Outlet) Close() error {
	if !o.gate.shut(func() {}) { // nothing here waits
		return nil
	}
	if err := o.device.close(); err != nil {
		return fmt.Errorf("closing outlet: %w", err)
	}
	return nil
}
