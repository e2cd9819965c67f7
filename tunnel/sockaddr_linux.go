package tunnel

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Socket addresses as bytes, for system calls that take many at once; netip.AddrPort on our side.
// Family and scope are in the machine's byte order, port and address in the network's.

// putSockaddr writes struct sockaddr_in or sockaddr_in6 and returns its length. The socket's family is
// the address's: peers of the other family are on another conn.
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
