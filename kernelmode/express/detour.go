package express

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"

	"golang.org/x/sys/unix"
)

// detourMAC is that of every detour device: it stands in the programs, and only frames of theirs go there. An
// address set by hand is also one that udev leaves alone.
var detourMAC = [6]byte{0x02, 0x77, 0x65, 0x66, 0x74, 0x01}

// detourNames returns the names of the two ends of the veth for the lane on a TUN device: packets pass at near, and
// far is there because a veth has two ends. Both fit in the kernel's 15 bytes.
func detourNames(device string) (near, far string) {
	if len(device)+len("-x") >= unix.IFNAMSIZ {
		sum := fnv.New32a()
		sum.Write([]byte(device)) // never fails, see hash.Hash
		device = fmt.Sprintf("weft%08x", sum.Sum32())
	}
	return device + "-x", device + "-y"
}

// detourAddress is where the frames go: in 100::/64, which nobody routes (RFC 6666), and by the device's number, so
// that several lanes in one network namespace have one each.
func detourAddress(index int) netip.Addr {
	a := [16]byte{0x01}
	binary.BigEndian.PutUint32(a[12:], uint32(index))
	return netip.AddrFrom16(a)
}

// detourFrame is what go_round in bpf/detour.h makes around an IPv4 packet, without the lane's note.
func detourFrame(index int, inner []byte) []byte {
	b := ethernet(nil, unix.ETH_P_IPV6)
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(ethernetLen+len(inner)))
	b = append(b, ethernetInIPv6, 1)
	source, to := detourAddress(0).As16(), detourAddress(index).As16()
	b = append(append(b, source[:]...), to[:]...)
	return append(ethernet(b, unix.ETH_P_IP), inner...)
}

// detourTrial is the smallest IPv4 packet, of a protocol that nobody has. A detour that works brings it to the
// returned program, which counts it and drops it.
func detourTrial(index int) []byte {
	return detourFrame(index, []byte{0x45, 3: 20, 8: 1, 9: trialProtocol, 19: 0})
}

const (
	ethernetLen    = 14
	ethernetInIPv6 = 143  // IPPROTO_ETHERNET, RFC 8986 section 10.1
	trialProtocol  = 0xff // TRIAL in bpf/detour.h
)

// ethernet appends the header of a frame to the detour device.
func ethernet(b []byte, kind uint16) []byte {
	b = append(append(b, detourMAC[:]...), detourMAC[:]...)
	return binary.BigEndian.AppendUint16(b, kind)
}
