package netlab

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The functions here act on the namespace of the calling thread: call them inside Namespace.Do.

// vethPair names both ends of a veth and the namespace of the far one. The near one is made in the
// namespace of the calling thread.
type vethPair struct {
	near, far string
	farSpace  *Namespace
	mtu       int
}

// addVeth makes both ends and brings the near one up; the far one is its namespace's business. The
// kernel moves the far end itself, so that two labs never meet in one namespace with equal names.
func addVeth(p vethPair) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = p.near, p.mtu
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU = p.far, uint32(p.mtu)
	veth.PeerNamespace = netlink.NsFd(p.farSpace.handle)
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("adding veth %s with peer %s in %s: %w", p.near, p.far, p.farSpace.name, err)
	}
	return linkUp(p.near)
}

// addBridge makes a bridge that only forwards: snooping without a querier would lose IPv6
// neighbour discovery. It has a MAC address of its own, since otherwise it takes its lowest port's,
// and neighbours' caches would go stale with each port that comes or goes.
func addBridge(name string, mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	attrs.HardwareAddr = make(net.HardwareAddr, 6)
	rand.Read(attrs.HardwareAddr)                              // never fails, see crypto/rand
	attrs.HardwareAddr[0] = attrs.HardwareAddr[0]&^0b11 | 0b10 // unicast, locally administered
	snooping := false
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
		return fmt.Errorf("adding bridge %s: %w", name, err)
	}
	return linkUp(name)
}

// change finds a device and does something to it; what names it for the error.
func change(name, what string, f func(netlink.Link) error) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding device %s: %w", name, err)
	}
	if err := f(link); err != nil {
		return fmt.Errorf("%s of device %s: %w", what, name, err)
	}
	return nil
}

// linkUp is `ip link set NAME up`.
func linkUp(name string) error {
	return change(name, "setting up state", netlink.LinkSetUp)
}

// silence takes a device of the underlay out of the underlay's own IP stack. A port that is out of its
// bridge would otherwise answer ARP for the router's address, and packets pass beside the bridge.
func silence(name string) error {
	if hasIPv6() {
		if err := sysctl("net/ipv6/conf/"+name+"/disable_ipv6", "1"); err != nil {
			return err
		}
	}
	return change(name, "switching off ARP", netlink.LinkSetARPOff)
}

// carrierPatience bounds awaitCarrier; on an idle machine it takes a millisecond.
const carrierPatience = 10 * time.Second

// awaitCarrier waits until the kernel has taken the devices into use. A device that comes up before
// its peer, or a bridge before its first port, drops everything until a kernel worker has noticed the
// carrier, and an ARP request lost that way is repeated a whole second later.
func awaitCarrier(names ...string) error {
	for _, name := range names {
		for deadline := time.Now().Add(carrierPatience); ; time.Sleep(time.Millisecond) {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return fmt.Errorf("finding device %s: %w", name, err)
			}
			if link.Attrs().OperState == netlink.OperUp {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("device %s is %s after %v: want it up", name, link.Attrs().OperState, carrierPatience)
			}
		}
	}
	return nil
}

// setMTU changes the MTU live; a bridge's stays where it is set, and otherwise follows its ports.
func setMTU(name string, mtu int) error {
	return change(name, fmt.Sprintf("setting MTU %d", mtu), func(l netlink.Link) error {
		return netlink.LinkSetMTU(l, mtu)
	})
}

// setMaster makes the device a port of the bridge; an empty bridge takes it out of any.
func setMaster(name, bridge string) error {
	return change(name, "setting bridge "+bridge, func(l netlink.Link) error {
		if bridge == "" {
			return netlink.LinkSetNoMaster(l)
		}
		master, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(l, master)
	})
}

// addAddr adds an address without duplicate address detection: nobody else is in the lab.
func addAddr(name string, prefix netip.Prefix) error {
	return change(name, "adding address "+prefix.String(), func(l netlink.Link) error {
		// Without the flag an IPv6 address is tentative for a second, and sends nothing.
		addr := &netlink.Addr{IPNet: ipNet(prefix)}
		if prefix.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		return netlink.AddrAdd(l, addr)
	})
}

// addRoute routes prefix through the gateway, which must be on-link.
func addRoute(prefix netip.Prefix, gateway netip.Addr) error {
	route := &netlink.Route{Dst: ipNet(prefix), Gw: gateway.AsSlice()}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("adding route %s via %s: %w", prefix, gateway, err)
	}
	return nil
}

// addDefaultRoute routes everything of the gateway's family through it.
func addDefaultRoute(gateway netip.Addr) error {
	everywhere := netip.IPv6Unspecified()
	if gateway.Is4() {
		everywhere = netip.IPv4Unspecified()
	}
	return addRoute(netip.PrefixFrom(everywhere, 0), gateway)
}

// ipNet is the prefix as netlink wants it, host bits and all.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
