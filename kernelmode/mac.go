package kernelmode

import (
	"crypto/rand"
	"fmt"
	"net"
)

// A MAC is an Ethernet address.
type MAC [6]byte

// String renders the address in lower case with colons.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// unicast reports whether one host can have the address: not zero, and the group bit not set.
func (m MAC) unicast() bool { return m != MAC{} && m[0]&1 == 0 }

// ParseMAC reads the address in any of the spellings of net.ParseMAC. An address that no VTEP can have
// (of a group, all zero, or longer than six bytes) is an error.
func ParseMAC(s string) (MAC, error) {
	hardware, err := net.ParseMAC(s)
	if err != nil || len(hardware) != len(MAC{}) {
		return MAC{}, fmt.Errorf("parsing MAC address %q: not six bytes in hexadecimal, as in 9a:1e:a5:33:00:29", s)
	}
	m := MAC(hardware)
	if !m.unicast() {
		return MAC{}, fmt.Errorf("parsing MAC address %q: no single host can have it", s)
	}
	return m, nil
}

// NewMAC returns a random address of the locally administered range (IEEE 802, bit 1 of the first byte).
func NewMAC() MAC {
	var m MAC
	rand.Read(m[:]) // never fails, by its contract
	m[0] = m[0]&^1 | 2
	return m
}

// DeviceMAC returns the Ethernet address of an existing VXLAN device, whoever made it: flannel, or an
// earlier run. A host that goes on with it stays the same to its peers. ok is false where there is no
// such device, or one of another kind.
func DeviceMAC(k Kernel, device string) (m MAC, ok bool, err error) {
	have, err := read(k, Scope{Devices: []string{device}})
	if err != nil {
		return MAC{}, false, fmt.Errorf("looking for the MAC address of device %s: %w", device, err)
	}
	for _, l := range have.Links {
		if l.Name == device && l.Kind == LinkVXLAN && l.MAC.unicast() {
			return l.MAC, true, nil
		}
	}
	return MAC{}, false, nil
}
