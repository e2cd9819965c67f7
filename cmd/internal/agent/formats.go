package agent

import (
	"net/netip"

	"weft/lease"
)

// formats are what a host's sockets take: for each, sockets of its own.
//
// A host opens those of the network's own type, and of the types that its peers' leases name: in a
// network that migrates both. What comes in is judged by the sender's address alone, so a peer that
// hasn't heard yet how this host is talked to is understood.
type formats struct{ udp, vxlan, ipip bool }

// formats are those that a snapshot asks for; nil: the network's own.
func (f fabric) formats(s *lease.Snapshot) formats {
	var all formats
	all.add(f.config.BackendType)
	all.add(f.config.Beside.BackendType)
	if s == nil {
		return all
	}
	for _, l := range s.Leases {
		kind := l.Attrs.BackendType
		if kind == "" {
			kind = typeUDP // alloc leases look the same, and need nothing
		}
		if l.Subnets() != f.own.Subnets() {
			all.add(kind)
		}
	}
	return all
}

func (a *formats) add(kind string) {
	a.udp = a.udp || kind == typeUDP
	a.vxlan = a.vxlan || kind == typeVXLAN
	a.ipip = a.ipip || kind == typeIPIP
}

func (a formats) has(kind string) bool {
	return a.udp && kind == typeUDP || a.vxlan && kind == typeVXLAN || a.ipip && kind == typeIPIP
}

// cover reports whether sockets for a serve b too. What is open stays open until the session ends: a peer
// that goes back must not interrupt the others.
func (a formats) cover(b formats) bool {
	return (a.udp || !b.udp) && (a.vxlan || !b.vxlan) && (a.ipip || !b.ipip)
}

// and is both.
func (a formats) and(b formats) formats {
	return formats{a.udp || b.udp, a.vxlan || b.vxlan, a.ipip || b.ipip}
}

func (a formats) names() (all []string) {
	for name, on := range a.byName() {
		if on {
			all = append(all, name)
		}
	}
	return all
}

// byName yields the formats, the network's types in a fixed order.
func (a formats) byName() func(func(string, bool) bool) {
	return func(yield func(string, bool) bool) {
		_ = yield(typeUDP, a.udp) && yield(typeVXLAN, a.vxlan) && yield(typeIPIP, a.ipip)
	}
}

// receives says where sockets of a format are bound: on --port or the network's where it is the network's
// own type, else where such hosts commonly are. own: nobody could send here otherwise.
func (f fabric) receives(kind string, o Options) (port uint16, own bool) {
	switch {
	case kind == f.config.BackendType:
		return uint16(f.port(o)), true
	case kind == f.config.Beside.BackendType:
		return uint16(f.config.Beside.Options.Port), true
	case kind == typeVXLAN:
		return defaultVXLANPort, false
	default:
		return defaultUDPPort, false
	}
}

// local4 is the IPv4 address among those of local; invalid if there is none.
func (f fabric) local4() netip.Addr {
	for _, a := range f.local() {
		if a.Is4() {
			return a
		}
	}
	return netip.Addr{}
}
