package selfcheck

import (
	"net/netip"

	"weft/lease"
)

// A Peer is one subnet of another host: a dual-stack host is two of them, since one family may break
// alone.
type Peer struct {
	Subnet netip.Prefix
	Outer  netip.Addr // where it is on the underlay, for a person to recognize it by; may be invalid
}

// Peers lists everybody in the snapshot but this host, in the snapshot's order.
func Peers(s *lease.Snapshot, own lease.Subnets) []Peer {
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
			if subnet.IsValid() {
				all = append(all, Peer{subnet, outer})
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
	if !p.Outer.IsValid() {
		return p.Subnet.String()
	}
	return p.Subnet.String() + " at " + p.Outer.String()
}

// perFamily bounds how many peers of a family are asked. A datapath that works for sixteen, spread
// over the network, doesn't fail for the rest by its own fault.
const perFamily = 16

// chosen picks at most perFamily peers of each family, evenly spread over the list. The same list
// gives the same choice.
func chosen(peers []Peer) []Peer {
	var picked []Peer
	for _, is4 := range []bool{true, false} {
		var family []Peer
		for _, p := range peers {
			if p.Subnet.Addr().Is4() == is4 {
				family = append(family, p)
			}
		}
		n := min(len(family), perFamily)
		for i := range n {
			picked = append(picked, family[i*len(family)/n])
		}
	}
	return picked
}
