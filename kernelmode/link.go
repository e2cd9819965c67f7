package kernelmode

import (
	"fmt"
	"net/netip"
	"strings"
)

// LinkKind is the type of a device, as `ip link` names it.
type LinkKind string

// The kinds that plans ask for. A TUN belongs to package tunnel, which opened it: it is configured
// here, never created or deleted. The others are made here, and deleted when nobody wants them.
const (
	LinkTUN   LinkKind = "tun"
	LinkVXLAN LinkKind = "vxlan"
	LinkIPIP  LinkKind = "ipip"
)

// made reports whether devices of the kind are this package's to make and to delete.
func (k LinkKind) made() bool { return k == LinkVXLAN || k == LinkIPIP }

// A Link is one network device and what weft cares about in it.
type Link struct {
	Name string // at most 15 bytes (IFNAMSIZ)
	Kind LinkKind
	MTU  int // bytes of the largest packet, without any link-layer header
	Up   bool

	// TxQueueLen is the length of the transmit queue in packets: what waits in a TUN for its reader.
	// In a wanted Link 0 means that any will do.
	TxQueueLen int

	// GSOMaxSize bounds superpackets, in bytes (IFLA_GSO_MAX_SIZE; the kernel lets IPv4 follow it up
	// to 65,536). In a wanted Link 0 means that any will do.
	GSOMaxSize int

	// NoAddrGen keeps the kernel from making an IPv6 link-local address (addrgenmode none), and so
	// from soliciting routers out of the device. In a wanted Link false means that any will do.
	NoAddrGen bool

	// MAC is the Ethernet address; zero for kinds without one. In a wanted Link zero means that any
	// will do.
	MAC MAC

	// VXLAN and IPIP are what a device of that kind is made with, and can't have changed later.
	VXLAN VXLAN
	IPIP  IPIP
}

// VXLAN is what tells two VXLAN devices apart (IFLA_VXLAN_*). The zero value of every field below
// Parent is what flannel's devices have.
type VXLAN struct {
	VNI    uint32     // 24 bits
	Port   uint16     // UDP, of this end and of every peer
	Local  netip.Addr // outer source address
	Parent string     // device that the outer packets leave by; it takes this one with it when it goes

	Learning bool // source addresses become forwarding entries
	GBP      bool // group policy extension: peers without it can't be talked to

	Remote         netip.Addr // destination of everything without an entry; invalid: dropped
	RemoteChecksum bool       // remcsumtx or remcsumrx: headers that plain peers don't understand
	ZeroChecksum   bool       // outer UDP checksums of zero (noudpcsum or udp6zerocsumtx)
	External       bool       // the VNI comes from elsewhere (collect metadata)
}

// IPIP is what tells two IPIP devices apart (IFLA_IPTUN_*).
type IPIP struct {
	Local  netip.Addr // outer source address
	Remote netip.Addr // the only peer; invalid: the route says which
}

// Key is the device's name.
func (l Link) Key() any { return linkKey{l.Name} }

// Device is the link's own name.
func (l Link) Device() string { return l.Name }

// String renders the link as `ip -d link` does, on one line.
func (l Link) String() string {
	var b strings.Builder
	state := "DOWN"
	if l.Up {
		state = "UP"
	}
	fmt.Fprintf(&b, "%s: <%s> mtu %d", l.Name, state, l.MTU)
	if l.TxQueueLen != 0 {
		fmt.Fprintf(&b, " qlen %d", l.TxQueueLen)
	}
	if l.MAC != (MAC{}) {
		fmt.Fprintf(&b, " link/ether %s", l.MAC)
	}
	if l.NoAddrGen {
		b.WriteString(" addrgenmode none")
	}
	fmt.Fprintf(&b, " %s", l.Kind)
	switch l.Kind {
	case LinkVXLAN:
		b.WriteString(l.VXLAN.text())
	case LinkIPIP:
		b.WriteString(l.IPIP.text())
	}
	if l.GSOMaxSize != 0 {
		fmt.Fprintf(&b, " gso_max_size %d", l.GSOMaxSize)
	}
	return b.String()
}

func (v VXLAN) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, " id %d", v.VNI)
	if v.Remote.IsValid() {
		fmt.Fprintf(&b, " remote %s", v.Remote)
	}
	if v.Local.IsValid() {
		fmt.Fprintf(&b, " local %s", v.Local)
	}
	if v.Parent != "" {
		fmt.Fprintf(&b, " dev %s", v.Parent)
	}
	fmt.Fprintf(&b, " dstport %d", v.Port)
	for _, flag := range []struct {
		set bool
		on  string
		off string
	}{
		{v.Learning, " learning", " nolearning"}, {v.ZeroChecksum, " noudpcsum", " udpcsum"},
		{v.GBP, " gbp", ""}, {v.RemoteChecksum, " remcsum", ""}, {v.External, " external", ""},
	} {
		if flag.set {
			b.WriteString(flag.on)
		} else {
			b.WriteString(flag.off)
		}
	}
	return b.String()
}

func (i IPIP) text() string {
	end := func(a netip.Addr) string {
		if a.IsValid() {
			return a.String()
		}
		return "any"
	}
	return " remote " + end(i.Remote) + " local " + end(i.Local)
}

// meets compares what can be changed while the device stands. It goes field by field, since in a
// wanted Link some zero values mean "any".
func (l Link) meets(w Link) bool {
	return l.Kind == w.Kind && l.MTU == w.MTU && l.Up == w.Up &&
		(w.TxQueueLen == 0 || l.TxQueueLen == w.TxQueueLen) &&
		(w.GSOMaxSize == 0 || l.GSOMaxSize == w.GSOMaxSize) &&
		(!w.NoAddrGen || l.NoAddrGen) &&
		(w.MAC == MAC{} || l.MAC == w.MAC)
}

// outgrown reports whether the device has to be made anew to become the wanted one.
func (l Link) outgrown(w Link) bool {
	return l.Kind == w.Kind && (l.VXLAN != w.VXLAN || l.IPIP != w.IPIP)
}
