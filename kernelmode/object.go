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

	// Optional says that its failing is no fault: /proc/sys is read-only in most containers. Only read
	// in wanted States.
	Optional bool
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
