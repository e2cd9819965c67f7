package express

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// A Config says where a lane runs and who its host is. What is in it holds for the life of the Lane; a
// host that changes opens another one, which takes over without a gap.
type Config struct {
	Device   string // the TUN device that the userspace forwarder holds
	Underlay string // the Ethernet device that peers are reached through

	// Outer4 and Outer6 are this host's addresses on the underlay, one of them at least. Without the
	// one of a family nothing of that family is carried.
	Outer4, Outer6 netip.Addr

	// UDPPort and VXLANPort are where peers send the two formats, and IPIP says whether they send
	// IPv4 in IPv4; zero is a format that this host doesn't take.
	UDPPort, VXLANPort uint16
	IPIP               bool
	VNI                uint32  // of VXLAN, 24 bits
	MAC4, MAC6         [6]byte // of this host's VTEP, for peers of each outer family

	// Network and SubnetLen are the configured IPv4 range and the length of each host's subnet in it.
	// Both may be zero on a v6-only host.
	Network   netip.Prefix
	SubnetLen int
	Local     []netip.Prefix // this host's own subnets, one of each family at most
	MTU       int            // of the TUN device, bytes

	// Features lists what a device has switched on, by ethtool's names, in the network namespace of the calling thread; nothing
	// where the kernel doesn't say. By it the lane knows whether the underlay takes superpackets as they are; without
	// it, as without an answer, it takes that for granted.
	Features func(device string) []string

	// Pins is the folder of the BPF file system below which the lane keeps what must outlive the
	// agent; empty is DefaultPins.
	Pins string
}

// DefaultPins is where a lane's pins are unless Config says otherwise: one folder for each device there.
const DefaultPins = "/sys/fs/bpf/weft"

// maxSubnets bounds the index at 2^22 subnets, 32 MB of kernel memory. A network with more is served by the
// trie alone, as routes.Table does.
const maxSubnetBits = 22

// check says what is wrong with the config, and what would be right. The programs trust what they are given, and a
// wrong one would not fail but carry packets wrongly.
func (c *Config) check() error {
	switch {
	case c.Device == "" || c.Underlay == "":
		return fmt.Errorf("express: device %q on underlay %q: name both", c.Device, c.Underlay)
	case !c.Outer4.IsValid() && !c.Outer6.IsValid():
		return fmt.Errorf("express: device %s: no address on the underlay: give Outer4 or Outer6", c.Device)
	case c.Outer4.IsValid() && !c.Outer4.Is4(), c.Outer6.IsValid() && (!c.Outer6.Is6() || c.Outer6.Is4In6()):
		return fmt.Errorf("express: device %s: outer addresses %v and %v: one IPv4 and one IPv6 address", c.Device, c.Outer4, c.Outer6)
	case c.UDPPort == 0 && c.VXLANPort == 0 && !c.IPIP:
		return fmt.Errorf("express: device %s: no format: give UDPPort, VXLANPort or IPIP", c.Device)
	case c.UDPPort != 0 && c.UDPPort == c.VXLANPort:
		return fmt.Errorf("express: device %s: udp and vxlan both on port %d: give them two", c.Device, c.UDPPort)
	case c.VNI >= 1<<24:
		return fmt.Errorf("express: device %s: VNI %d: a VNI has 24 bits", c.Device, c.VNI)
	case c.MTU < 576 || c.MTU > 65535:
		return fmt.Errorf("express: device %s: MTU %d: use 576 to 65535", c.Device, c.MTU)
	}
	return c.checkSubnets()
}

func (c *Config) checkSubnets() error {
	// The programs compute a slot by subtraction and shift, which only a masked range of one family allows.
	if n := c.Network; n.IsValid() && (!n.Addr().Is4() || n != n.Masked() || c.SubnetLen < n.Bits() || c.SubnetLen > 32) {
		return fmt.Errorf("express: network %v with subnets of length %d: use an IPv4 range and a length from its own to 32", n, c.SubnetLen)
	}
	var families [2]int
	for _, p := range c.Local {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("express: own subnet %v is not a subnet: use its first address and length", p)
		}
		families[p.Addr().BitLen()/128]++
	}
	if families[0] > 1 || families[1] > 1 {
		return fmt.Errorf("express: own subnets %v: one of each family at most", c.Local)
	}
	return nil
}

// shape is the index: its first address, how many subnets and how long each.
type shape struct {
	base    uint32 // host order
	shift   uint8  // 32 − subnet length; 32 where nothing is indexed
	subnets uint32
}

// shape is empty where subnets have no fixed length or are too many for an array; then all routes are in the trie.
func (c *Config) shape() shape {
	bits := c.SubnetLen - c.Network.Bits()
	if !c.Network.IsValid() || bits > maxSubnetBits || c.SubnetLen == 0 {
		return shape{shift: 32}
	}
	base := c.Network.Addr().As4()
	return shape{base: binary.BigEndian.Uint32(base[:]), shift: uint8(32 - c.SubnetLen), subnets: 1 << bits}
}

// slot returns the place of a subnet in the index; ok is false for what doesn't fit there.
func (s shape) slot(p netip.Prefix) (slot uint32, ok bool) {
	if s.subnets == 0 || !p.Addr().Is4() || p.Bits() != 32-int(s.shift) {
		return 0, false
	}
	b := p.Addr().As4()
	slot = (binary.BigEndian.Uint32(b[:]) - s.base) >> s.shift
	return slot, slot < s.subnets
}

// settings is the config as the programs read it. Device numbers and what the kernel can do are the caller's.
func (c *Config) settings() laneSettings {
	s := c.shape()
	l := laneSettings{
		UdpPort: networkShort(c.UDPPort), VxlanPort: networkShort(c.VXLANPort),
		Network: s.base, SubnetShift: uint32(s.shift), Subnets: s.subnets,
		Vni: networkLong(c.VNI << 8), Mtu: uint32(c.MTU), Mac4: c.MAC4, Mac6: c.MAC6, DetourMac: detourMAC,
		// A mask of all ones with address 0 is nobody's: 0.0.0.0 and :: are martians.
		Own4Mask: ^uint32(0), Own6Mask: [4]uint32{^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0)},
	}
	if c.Outer4.IsValid() {
		l.Outer4 = outerWords(c.Outer4)[0]
	}
	if c.Outer6.IsValid() {
		l.Outer6 = outerWords(c.Outer6)
	}
	if c.IPIP {
		l.Ipip = 1
	}
	for _, p := range c.Local {
		if p.Addr().Is4() {
			l.Own4, l.Own4Mask = outerWords(p.Addr())[0], outerWords(mask(p))[0]
		} else {
			l.Own6, l.Own6Mask = outerWords(p.Addr()), outerWords(mask(p))
		}
	}
	return l
}

// mask is the netmask of a prefix, as an address: the programs compare words.
func mask(p netip.Prefix) netip.Addr {
	ones, _ := netip.AddrFromSlice(repeat(0xff, p.Addr().BitLen()/8))
	masked, _ := ones.Prefix(p.Bits())
	return masked.Addr()
}

func repeat(b byte, n int) []byte {
	all := make([]byte, n)
	for i := range all {
		all[i] = b
	}
	return all
}
