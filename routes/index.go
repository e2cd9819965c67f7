package routes

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// maxIndexBits bounds the array: 2^22 subnets, 32 MB if all are leased. A network with more subnets
// than that (a /8 cut into /31s) is served by longest-prefix match alone.
const maxIndexBits = 22

// pageBits is log2 of the slots on a page: 512 pointers, 4 KB.
const pageBits = 9

// An index answers for subnets of one length by their number in the network:
// (address − network) >> (32 − length). It has two levels, so that changing one slot copies one page
// and the root (4 KB and 1 KB for 65,536 subnets), and shares all else.
type index struct {
	base  uint32 // the network's address
	slots uint32 // number of subnets; 0 when nothing is indexed
	shift uint8  // 32 − subnet length
	root  []*page
}

// A page holds the hops of consecutive subnets. The empty ones are all the same memory.
type page [1 << pageBits]*Hop

func newIndex(network netip.Prefix, subnetLen int) (index, error) {
	if !network.IsValid() {
		return index{}, nil
	}
	if !network.Addr().Is4() || network != network.Masked() {
		return index{}, fmt.Errorf("network %v is not an IPv4 range: use its first address and length, as 10.5.0.0/16", network)
	}
	if subnetLen < network.Bits() || subnetLen > 32 {
		return index{}, fmt.Errorf("subnet length %d does not fit %v: use %d to 32", subnetLen, network, network.Bits())
	}
	size := subnetLen - network.Bits()
	if size > maxIndexBits || subnetLen == 0 {
		return index{}, nil
	}
	base := network.Addr().As4()
	x := index{
		base:  binary.BigEndian.Uint32(base[:]),
		slots: 1 << size,
		shift: uint8(32 - subnetLen),
	}
	empty := new(page)
	x.root = make([]*page, (int(x.slots)+len(empty)-1)/len(empty))
	for i := range x.root {
		x.root[i] = empty
	}
	return x, nil
}

// lookup returns the hop of the subnet that addr is in; nil for none and for addresses elsewhere.
// An address below base wraps around to a number past every slot, so one comparison does for both.
func (x *index) lookup(addr uint32) *Hop {
	i := (addr - x.base) >> (x.shift & 31)
	if i >= x.slots {
		return nil
	}
	return x.root[i>>pageBits][i&(1<<pageBits-1)]
}

// holds reports whether the subnet has a slot of its own.
func (x *index) holds(subnet netip.Prefix) (slot uint32, ok bool) {
	if x.slots == 0 || !subnet.Addr().Is4() || subnet.Bits() != 32-int(x.shift) {
		return 0, false
	}
	b := subnet.Addr().As4()
	addr := binary.BigEndian.Uint32(b[:])
	slot = (addr - x.base) >> x.shift
	return slot, slot < x.slots
}

// subnet is the inverse of holds.
func (x *index) subnet(slot uint32) netip.Prefix {
	return netip.PrefixFrom(addr4(x.base+slot<<x.shift), 32-int(x.shift))
}

// An edit changes copies of pages. It remembers which pages it has copied already, so that a
// thousand changes in one update copy each page once.
type edit struct {
	index
	copied []uint64 // one bit a page
}

func (x index) edit() edit { return edit{index: x} }

func (e *edit) set(slot uint32, hop *Hop) {
	n := slot >> pageBits
	if e.copied == nil {
		e.copied = make([]uint64, (len(e.root)+63)/64)
		e.root = slices.Clone(e.root)
	}
	if bit := uint64(1) << (n % 64); e.copied[n/64]&bit == 0 {
		e.copied[n/64] |= bit
		own := *e.root[n]
		e.root[n] = &own
	}
	e.root[n][slot&(1<<pageBits-1)] = hop
}
