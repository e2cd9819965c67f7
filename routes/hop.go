package routes

import (
	"net/netip"
	"sync/atomic"
)

// Encapsulation names the bytes that go between the outer UDP or IP header and the inner packet.
type Encapsulation uint8

// The encapsulations a hop can ask for.
const (
	EncapUDP   Encapsulation = iota // headerless: the bare inner packet (GUE variant 1)
	EncapGUE                        // GUE variant 0 with remote checksum offload, between weft peers
	EncapVXLAN                      // VXLAN with Ethernet, as a kernel's vxlan device has it
	EncapIPIP                       // IPv4 in IPv4, protocol 4
)

// A Hop is where a destination's packets go: one peer in one outer address family.
//
// The exported fields but Runs and FromSocket never change once the Hop is in a Table. Path MTU is live: the data path of
// any worker may lower it, and a Hop that is carried over into the next Table keeps it.
type Hop struct {
	Outer         netip.AddrPort // where the peer receives; IPv4 in 4-byte form; port 0 for EncapIPIP
	Encapsulation Encapsulation
	VTEPMAC       [6]byte // the peer's in the family of Outer, for EncapVXLAN
	VNI           uint32  // 24 bits, for EncapVXLAN

	// RemoteSums, for EncapVXLAN: both ends say in their leases that they leave inner checksums to each
	// other (the flag RCO) and always send outer ones.
	RemoteSums bool

	// Echoes: the peer says in its lease that it answers tunnel.Echo, so that runs to it can be tried out.
	Echoes bool

	// ZeroSums: the peer says in its lease that it takes UDP over IPv6 without checksum, as an express lane sends it.
	ZeroSums bool

	// Runs is what trying them out has shown. Live, as the path MTU is.
	Runs Runs

	// FromSocket, for EncapVXLAN: the peer's latest datagram came from the port that it receives at, as those
	// of a datapath in user space do, or from a lane's. A kernel's tunnel draws its source port from each flow. Live.
	FromSocket atomic.Bool

	mtu atomic.Uint32
}

// Runs says how runs of datagrams (UDP_SEGMENT) fare on the way to a hop.
type Runs struct {
	Off  atomic.Bool // they don't arrive whole: every datagram is to go alone
	Seen atomic.Bool // there was one to send since somebody last looked
}

// MTU returns the largest inner packet, in bytes, that the path to the hop takes at present, in its
// encapsulation (EncapGUE's header apart, since a packet may always go bare there); 0 when nothing is
// known yet and the device's own MTU holds.
func (h *Hop) MTU() int { return int(h.mtu.Load()) }

// SetMTU records the largest inner packet, in bytes, that the path takes.
func (h *Hop) SetMTU(bytes int) { h.mtu.Store(uint32(bytes)) }
