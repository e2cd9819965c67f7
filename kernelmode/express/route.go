package express

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Encapsulation names the bytes that go between the outer IP header and the inner packet.
type Encapsulation uint8

// The encapsulations that the lane makes. GUE's variant 0 isn't among them: to a peer that takes it, bare
// packets may go too.
const (
	EncapUDP   Encapsulation = iota // headerless: the bare inner packet in UDP
	EncapVXLAN                      // VXLAN with Ethernet, as a kernel's vxlan device has it
	EncapIPIP                       // IPv4 in IPv4, protocol 4
)

var encapsulationNames = [...]string{EncapUDP: "udp", EncapVXLAN: "vxlan", EncapIPIP: "ipip"}

// String returns the name of the encapsulation as design.md has it.
func (e Encapsulation) String() string {
	if int(e) < len(encapsulationNames) {
		return encapsulationNames[e]
	}
	return fmt.Sprintf("encapsulation %d", uint8(e))
}

// A Route is one peer's subnet and how its packets go there. It is a plain value: two equal Routes are one.
type Route struct {
	Subnet        netip.Prefix   // masked; of either family
	Outer         netip.AddrPort // where the peer receives; IPv4 in 4-byte form; port 0 for EncapIPIP
	Encapsulation Encapsulation
	VNI           uint32  // 24 bits, for EncapVXLAN
	MAC           [6]byte // of the peer's VTEP in the family of Outer, for EncapVXLAN

	// MTU is the largest inner packet in bytes that may go to the peer; 0 where only the kernel's own
	// path MTU limits it, which holds in any case.
	MTU int

	// ZeroSums: the peer takes UDP over IPv6 without a checksum, as a lane does (RFC 6936). The lane
	// can send nothing else, so what goes to another peer over IPv6 goes by the userspace forwarder.
	ZeroSums bool

	// Forwarder: a weft forwarder receives at Outer, beside the peer's lane or alone, so that runs of datagrams
	// (UDP_SEGMENT) come to it merged. TCP flows of superpackets go to it by way of the forwarder
	// here while the underlay device would cut them. No for EncapIPIP, which has no such runs. For EncapVXLAN, where it
	// may be a kernel's device and leases don't tell, the lane finds out by what the peer sends.
	Forwarder bool
}

// check says what is wrong with a route. Routes come from leases, and so from other hosts: one bad record must be named
// here, where it can be skipped, and not be found out by packets.
func (r *Route) check() error {
	fail := func(what string, use string) error {
		return fmt.Errorf("express: route to %v via %v: %s: %s", r.Subnet, r.Outer, what, use)
	}
	outer := r.Outer.Addr()
	switch {
	case !r.Subnet.IsValid() || r.Subnet != r.Subnet.Masked() || r.Subnet.Addr().Is4In6():
		return fail("not a subnet", "use its first address and length")
	case !outer.IsValid() || outer.Is4In6() || outer.Zone() != "" || outer.IsUnspecified():
		return fail("no address of a peer", "use a plain IPv4 or IPv6 address")
	case int(r.Encapsulation) >= len(encapsulationNames):
		return fail(r.Encapsulation.String()+" is unknown", "use EncapUDP, EncapVXLAN or EncapIPIP")
	case r.Encapsulation == EncapIPIP && outer.Is6():
		return fail("ipip over IPv6", "ipip is IPv4 in IPv4")
	case (r.Outer.Port() == 0) != (r.Encapsulation == EncapIPIP):
		return fail("port", "only ipip has none")
	case r.VNI >= 1<<24:
		return fail(fmt.Sprintf("VNI %d", r.VNI), "a VNI has 24 bits")
	case r.MTU < 0 || r.MTU > 65535:
		return fail(fmt.Sprintf("MTU %d", r.MTU), "use 0 to 65535")
	}
	return nil
}

// hop is the route without its subnet, as the programs read it. Routes of one peer mostly share one, so a host with many
// subnets costs one hop, and what a program notes of its path holds for all of them.
func (r *Route) hop() laneHop {
	h := laneHop{
		Outer: outerWords(r.Outer.Addr()), Port: networkShort(r.Outer.Port()), Encap: uint8(r.Encapsulation),
		Vni: networkLong(r.VNI << 8), Mac: r.MAC, Mtu: uint16(r.MTU),
	}
	if r.Outer.Addr().Is6() {
		h.V6 = 1
	}
	if r.ZeroSums {
		h.ZeroSums = 1
	}
	if r.Forwarder && r.Encapsulation != EncapIPIP {
		h.Forwarder = 1
	}
	return h
}

// outerWords is an outer address as the programs compare it: four words as they lie in a packet, IPv4 in the
// first one.
func outerWords(a netip.Addr) (w [4]uint32) {
	if a.Is4() {
		b := a.As4()
		w[0] = binary.NativeEndian.Uint32(b[:])
		return w
	}
	return words(a.As16())
}

// words takes the sixteen bytes as four numbers of this processor, without changing their order in memory.
func words(b [16]byte) (w [4]uint32) {
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return w
}

// networkShort is a number whose bytes in memory are n in network order.
func networkShort(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}

func networkLong(n uint32) uint32 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return binary.NativeEndian.Uint32(b[:])
}

// prefixKey is a subnet as the trie has it: IPv4 as ::ffff:a.b.c.d, so that one trie serves both families.
func prefixKey(p netip.Prefix) lanePrefix {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	return lanePrefix{Bits: uint32(bits), Address: words(p.Addr().As16())}
}
