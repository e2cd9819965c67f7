package selfcheck

import (
	"fmt"
	"net/netip"

	"weft/lease"
)

// A Peer is one subnet of another host: a dual-stack host is two of them, since one family may break
// alone.
type Peer struct {
	Subnet netip.Prefix
	Outer  netip.Addr // where it is on the underlay, for a person to recognize it by; may be invalid
	Size   int        // of the packets that it is asked with, bytes; 0: as small as they can be
}

// Peers lists everybody in the snapshot but this host, in the snapshot's order. Each is listed as it is, for
// small packets, and once more for each size: a way that carries small packets alone looks well
// to everybody until a connection hangs in the middle of a transfer.
func Peers(s *lease.Snapshot, own lease.Subnets, sizes ...int) []Peer {
	var all []Peer
	for _, l := range s.Leases {
		if l.Subnets() == own {
			continue
		}
		outer := l.Attrs.PublicIP
		if !outer.IsValid() {
			outer = l.Attrs.PublicIPv6
		}
		for _, subnet := range []netip.Prefix{l.Subnet, l.Subnet6} {
			if !subnet.IsValid() {
				continue
			}
			for _, size := range append([]int{0}, sizes...) {
				all = append(all, Peer{subnet, outer, size})
			}
		}
	}
	return all
}

// addrs returns the addresses that the host of the subnet may have itself.
func (p Peer) addrs() []netip.Addr {
	base := p.Subnet.Masked().Addr()
	return []netip.Addr{base, base.Next()}
}

// String names the peer as `weft leases` does, by its subnet, and by where it is.
func (p Peer) String() string {
	name := p.Subnet.String()
	if p.Outer.IsValid() {
		name += " at " + p.Outer.String()
	}
	if p.Size > 0 {
		name += fmt.Sprintf(" with packets of %d bytes", p.Size)
	}
	return name
}

// perFamily bounds how many peers of a family are asked with packets of a size. A datapath that works for
// sixteen, spread over the network, doesn't fail for the rest by its own fault.
const perFamily = 16

// mostAsked bounds all of them, so that each has a sequence number for every try.
const mostAsked = 1 << 16 / tries

// chosen picks at most perFamily peers of each family and size, evenly spread over the list. The same list
// gives the same choice.
func chosen(peers []Peer) []Peer {
	type kind struct {
		is4  bool
		size int
	}
	var kinds []kind
	of := map[kind][]Peer{}
	for _, p := range peers {
		k := kind{p.Subnet.Addr().Is4(), p.Size}
		if of[k] == nil {
			kinds = append(kinds, k)
		}
		of[k] = append(of[k], p)
	}
	var picked []Peer
	for _, k := range kinds {
		n := min(len(of[k]), perFamily)
		for i := range n {
			picked = append(picked, of[k][i*len(of[k])/n])
		}
	}
	return picked[:min(len(picked), mostAsked)]
}
