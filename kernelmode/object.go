package kernelmode

import (
	"fmt"
	"net/netip"
	"strings"
)

// An Object is one comparable value of a State: Link, Address, Route, Neighbour, FDBEntry or Sysctl.
type Object interface {
	// Key is what the kernel tells objects of this kind apart by. Two objects with equal keys can't
	// both be there. It is comparable, and no two kinds share one.
	Key() any
	// Device is the name of the device that the object is on; "" for what is on none.
	Device() string
	// String renders the object as one line of `ip`, `bridge` or `sysctl` output.
	String() string
}

// LinkKind is the type of a device, as `ip link` names it.
type LinkKind string

// LinkTUN is a device that package tunnel opened: it is configured here, never created or deleted.
const LinkTUN LinkKind = "tun"

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
	if l.NoAddrGen {
		b.WriteString(" addrgenmode none")
	}
	fmt.Fprintf(&b, " %s", l.Kind)
	if l.GSOMaxSize != 0 {
		fmt.Fprintf(&b, " gso_max_size %d", l.GSOMaxSize)
	}
	return b.String()
}

// An Address is one address on a device, of global scope and for ever.
type Address struct {
	Dev    string
	Prefix netip.Prefix // the address itself, unmasked, with the length of its network
}

// Key is the address itself: the kernel keeps one of each on a device.
func (a Address) Key() any { return a }

// Device is the device that the address is on.
func (a Address) Device() string { return a.Dev }

// String renders the address as `ip address` does.
func (a Address) String() string {
	return fmt.Sprintf("%s %s scope global %s", family(a.Prefix.Addr()), a.Prefix, a.Dev)
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "inet"
	}
	return "inet6"
}

// A MAC is an Ethernet address.
type MAC [6]byte

// String renders the address in lower case with colons.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// A Neighbour is a permanent entry of the ARP or neighbour-discovery table.
type Neighbour struct {
	Dev string
	IP  netip.Addr
	MAC MAC
}

// Key is device and IP address.
func (n Neighbour) Key() any { return neighbourKey{n.Dev, n.IP} }

// Device is the device that the entry is on.
func (n Neighbour) Device() string { return n.Dev }

// String renders the entry as `ip neigh` does.
func (n Neighbour) String() string {
	return fmt.Sprintf("%s dev %s lladdr %s PERMANENT", n.IP, n.Dev, n.MAC)
}

// An FDBEntry tells a VXLAN device which host is behind a MAC address.
type FDBEntry struct {
	Dev string
	MAC MAC
	Dst netip.Addr // outer address of the peer
}

// Key is device and MAC address: weft keeps one destination for each.
func (f FDBEntry) Key() any { return fdbKey{f.Dev, f.MAC} }

// Device is the device that the entry is on.
func (f FDBEntry) Device() string { return f.Dev }

// String renders the entry as `bridge fdb` does.
func (f FDBEntry) String() string {
	return fmt.Sprintf("%s dev %s dst %s self permanent", f.MAC, f.Dev, f.Dst)
}

// A Sysctl is one kernel parameter of the network namespace.
type Sysctl struct {
	// Name has slashes between its parts, as under /proc/sys and as sysctl(8) takes it too, since
	// device names contain dots: net/ipv6/conf/flannel.1/accept_ra.
	Name  string
	Value string // without the newline
}

// Key is the parameter's name.
func (s Sysctl) Key() any { return sysctlKey{s.Name} }

// Device is the device whose parameter it is (net/ipv4/conf/weft0/…), so that it is set once the device
// is there; "" for those of the whole namespace.
func (s Sysctl) Device() string {
	part := strings.Split(s.Name, "/")
	if len(part) < 5 || part[0] != "net" || part[2] != "conf" || part[3] == "all" || part[3] == "default" {
		return ""
	}
	return part[3]
}

// String renders the parameter as sysctl(8) does, but for the slashes.
func (s Sysctl) String() string { return s.Name + " = " + s.Value }

type (
	linkKey      struct{ name string }
	sysctlKey    struct{ name string }
	neighbourKey struct {
		dev string
		ip  netip.Addr
	}
	fdbKey struct {
		dev string
		mac MAC
	}
)
