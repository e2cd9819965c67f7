package tunnel

import (
	"encoding/binary"
	"net/netip"
)

// Inner is what the IP header of an inner packet says, read once when the packet enters the data
// path. IPv4 addresses are numbers (10.1.2.3 is 0x0a010203), since that is what the route index wants.
type Inner struct {
	V6         bool
	Protocol   uint8 // of the transport header, where it directly follows the IP header
	Len        int   // bytes of the packet, IP header included, as the header states them
	Src4, Dst4 uint32
	Src6, Dst6 [16]byte // set only if V6
}

// Parse reads the IP header at the start of data and checks what routing relies on: version,
// header length, and a total length that the data really holds. ok is false for anything else, and
// then the packet is malformed. What the packet carries is not looked at, and neither is the IPv4
// header checksum: the kernel checks both when it gets the packet.
//
// data may be longer than Len. Whether bytes behind the packet are tolerated is the caller's rule:
// an encapsulation that delimits the packet itself (headerless UDP) must refuse them, one that
// carries Ethernet may have padded the frame.
//
// An IPv6 jumbogram (RFC 2675, payload length 0 with a hop-by-hop option) is refused as a packet
// with bytes behind it.
func (p *Inner) Parse(data []byte) (ok bool) {
	if len(data) < ipv4HeaderLen {
		return false
	}
	switch data[0] >> 4 {
	case 4:
		header := int(data[0]&15) * 4
		p.V6, p.Protocol = false, data[ipv4Protocol]
		p.Len = int(binary.BigEndian.Uint16(data[ipv4TotalLen:]))
		p.Src4 = binary.BigEndian.Uint32(data[ipv4Source:])
		p.Dst4 = binary.BigEndian.Uint32(data[ipv4Destination:])
		return header >= ipv4HeaderLen && header <= p.Len && p.Len <= len(data)
	case 6:
		if len(data) < ipv6HeaderLen {
			return false
		}
		p.V6, p.Protocol = true, data[ipv6Next]
		p.Len = ipv6HeaderLen + int(binary.BigEndian.Uint16(data[ipv6Length:]))
		p.Src6 = [16]byte(data[ipv6Source:ipv6Destination])
		p.Dst6 = [16]byte(data[ipv6Destination:ipv6HeaderLen])
		return p.Len <= len(data)
	}
	return false
}

// Offsets of the addresses in the IP headers (RFC 791 3.1, RFC 8200 3).
const (
	ipv4Source      = 12
	ipv4Destination = 16
	ipv6Source      = 8
	ipv6Destination = 24
)

// Src returns the source address.
func (p *Inner) Src() netip.Addr { return p.addr(p.Src4, &p.Src6) }

// Dst returns the destination address.
func (p *Inner) Dst() netip.Addr { return p.addr(p.Dst4, &p.Dst6) }

func (p *Inner) addr(v4 uint32, v6 *[16]byte) netip.Addr {
	if p.V6 {
		return netip.AddrFrom16(*v6)
	}
	return netip.AddrFrom4([4]byte{byte(v4 >> 24), byte(v4 >> 16), byte(v4 >> 8), byte(v4)})
}

// MartianSource reports whether no host may send from the packet's source address: unspecified,
// loopback, multicast, reserved or broadcast (RFC 1812 5.3.7, RFC 4291), or v4-mapped.
func (p *Inner) MartianSource() bool {
	if p.V6 {
		return martian6(&p.Src6)
	}
	return martian4(p.Src4)
}

// MartianDestination reports whether no single peer can be meant by the packet's destination: the
// same addresses, among them multicast and broadcast, which the fabric doesn't carry.
func (p *Inner) MartianDestination() bool {
	if p.V6 {
		return martian6(&p.Dst6)
	}
	return martian4(p.Dst4)
}

func martian4(addr uint32) bool {
	top := addr >> 24
	return top == 0 || top == 127 || top >= 224
}

func martian6(addr *[16]byte) bool {
	if addr[0] == 0xff {
		return true
	}
	// ::/96 holds the unspecified and the loopback address, ::ffff:0:0/96 the v4-mapped ones.
	if binary.BigEndian.Uint64(addr[:]) != 0 {
		return false
	}
	middle := binary.BigEndian.Uint32(addr[8:])
	return middle == 0 || middle == 0xffff
}

// FlowHash returns a number that is the same for every packet of one flow, in one direction, and
// well spread over flows. Packets of TCP and UDP are told apart by port too, except fragments, of
// which only the first has ports: all of them are hashed by address alone.
func (p *Inner) FlowHash(data []byte) uint32 {
	h := uint64(p.Protocol)
	if p.V6 {
		for i := 0; i < 16; i += 8 {
			h = mix(h ^ binary.LittleEndian.Uint64(p.Src6[i:]))
			h = mix(h ^ binary.LittleEndian.Uint64(p.Dst6[i:]))
		}
	} else {
		h = mix(h ^ uint64(p.Src4)<<32 ^ uint64(p.Dst4))
	}
	if at := p.ports(data); at != 0 {
		h = mix(h ^ uint64(binary.LittleEndian.Uint32(data[at:])))
	}
	return uint32(h >> 32)
}

// ports returns where the port numbers are, or 0 when the packet has none that every packet of its
// flow has too.
func (p *Inner) ports(data []byte) int {
	at := ipv6HeaderLen
	if !p.V6 {
		at = int(data[0]&15) * 4
		if binary.BigEndian.Uint16(data[ipv4Fragment:])&ipv4FragmentMask != 0 {
			return 0
		}
	}
	if p.Protocol != protocolTCP && p.Protocol != protocolUDP || at+4 > p.Len {
		return 0
	}
	return at
}

// mix spreads every bit over the upper half (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
