package tunnel

import (
	"net/netip"
	"syscall"
)

// A Datagram is what one UDP datagram carries, or what a train of equal ones does. On a raw socket it is
// what one outer IP packet carries.
type Datagram struct {
	// Addr is the outer address and port: the destination when sending, the source when received.
	// IPv4 is always in its 4-byte form, never v4-mapped.
	Addr netip.AddrPort

	// Head and Payload are the datagram's bytes, one after the other. To send, Head holds the bytes
	// written for this segment (encapsulation and inner headers) and Payload the bytes borrowed
	// from a superpacket; either may be empty. Received datagrams have only a Payload.
	Head, Payload []byte

	// SegmentSize is set on received trains only: Payload is a row of datagrams of this many bytes
	// each, the last one maybe shorter (UDP_GRO). 0: Payload is one datagram, of any size up to
	// 65,535 bytes — a sender whose underlay passes GSO through hands over whole superpackets.
	SegmentSize int

	// Alone, when sending, keeps the datagram out of runs: something on the way to Addr mangles them.
	Alone bool

	// Errno is set by WriteBatch for this datagram alone: 0 means the kernel took it.
	Errno syscall.Errno
}

// Len returns the bytes of UDP payload that the datagram puts on the wire.
func (d *Datagram) Len() int { return len(d.Head) + len(d.Payload) }

// A Conn is one UDP socket on the underlay, or one raw socket (ListenIPIPConn), all of whose ports are 0.
//
// One goroutine may read while another writes; neither method may be called twice at once. Every
// implementation passes the suite in tunneltest.
type Conn interface {
	// ReadBatch waits until at least one datagram is there, takes what else is ready without
	// waiting, and fills in[:n]. Payload is the conn's memory, valid until the next ReadBatch.
	// n is 0 only beside an error. The error is os.ErrClosed (wrapped or not) after Close; errors
	// that the network reports about a peer (ECONNREFUSED, EHOSTUNREACH) are not returned.
	ReadBatch(in []Datagram) (n int, err error)

	// WriteBatch sends every datagram, in order for each Addr, and sets Errno of each. It plans
	// runs (consecutive, one Addr, equal Len but for the last) and sends each in one UDP_SEGMENT
	// message where that is on; an offload that fails at run time steps down for this conn and
	// what was in the message goes out singly in the same call. Head and Payload are borrowed
	// until it returns. n counts the datagrams with Errno 0. err is only set when the conn is
	// closed or unusable.
	WriteBatch(out []Datagram) (n int, err error)

	// LocalAddr returns the bound address and port.
	LocalAddr() netip.AddrPort

	// Offloads reports what this conn does with runs and trains right now. Rungs only ever go off.
	Offloads() Offloads

	// Close unblocks a waiting ReadBatch and releases the socket. Safe to call from any goroutine
	// and more than once.
	Close() error
}
