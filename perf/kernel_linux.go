package perf

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/perf/netlab"
)

// buildPlain routes each host's subnet over the underlay, without any encapsulation: what this machine
// could do if a tunnel cost nothing. It is flannel's host-gw, too.
func buildPlain(_ context.Context, f *fabric, o *Options, _ subject) error {
	for _, host := range f.lab.Hosts() {
		other := f.lab.Host(otherHost(host.Number))
		route := &netlink.Route{Dst: ipNet(subnetOf(other.Number)), Gw: other.Addr.AsSlice()}
		if err := host.Do(func() error { return netlink.RouteAdd(route) }); err != nil {
			return fmt.Errorf("adding route %s via %s: %w", subnetOf(other.Number), other.Addr, err)
		}
	}
	f.mtu = o.UnderlayMTU
	return f.connect(o.Ends, [2]netip.Prefix{subnetOf(1), subnetOf(2)})
}

// What flannel's vxlan backend takes by default.
const (
	vxlanVNI      = 1
	vxlanPort     = 8472
	vxlanOverhead = 50 // outer Ethernet 14, IPv4 20, UDP 8, VXLAN 8
	vxlanDevice   = "flannel.1"
)

// buildVXLAN lays out kernel VXLAN as flannel does: no learning, one neighbour, FDB entry and route
// per peer. It is the reference because it is what flannel's users run where they can.
func buildVXLAN(_ context.Context, f *fabric, o *Options, _ subject) error {
	f.mtu = o.UnderlayMTU - vxlanOverhead
	var macs [3]net.HardwareAddr // by host number
	for _, host := range f.lab.Hosts() {
		err := host.Do(func() (err error) {
			macs[host.Number], err = addVXLAN(host, f.mtu)
			return err
		})
		if err != nil {
			return fmt.Errorf("adding vxlan device %s on host %d: %w", vxlanDevice, host.Number, err)
		}
	}
	for _, host := range f.lab.Hosts() {
		peer := f.lab.Host(otherHost(host.Number))
		if err := host.Do(func() error { return addVXLANPeer(peer, macs[peer.Number]) }); err != nil {
			return fmt.Errorf("adding vxlan peer %s on host %d: %w", peer.Addr, host.Number, err)
		}
	}
	return f.connect(o.Ends, [2]netip.Prefix{subnetOf(1), subnetOf(2)})
}

// addVXLAN makes the device in the current namespace and returns its MAC, which the kernel picks.
// Outer checksums are on (udpcsum), as a real flannel's device has them.
func addVXLAN(host *netlab.Host, mtu int) (net.HardwareAddr, error) {
	underlay, err := netlink.LinkByName(host.Device())
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = vxlanDevice, mtu
	device := &netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: vxlanVNI, Port: vxlanPort, VtepDevIndex: underlay.Attrs().Index,
		SrcAddr: host.Addr.AsSlice(), Learning: false, UDPCSum: true,
	}
	if err := netlink.LinkAdd(device); err != nil {
		return nil, err
	}
	made, err := netlink.LinkByName(vxlanDevice)
	if err != nil {
		return nil, err
	}
	base := netip.PrefixFrom(subnetOf(host.Number).Addr(), 32)
	if err := netlink.AddrAdd(made, &netlink.Addr{IPNet: ipNet(base)}); err != nil {
		return nil, err
	}
	return made.Attrs().HardwareAddr, netlink.LinkSetUp(made)
}

// addVXLANPeer adds what leads to one peer, in the current namespace: the route sends its subnet to
// its subnet's base address, the neighbour entry gives that the peer's MAC, and the forwarding entry
// says at which outer address that MAC lives.
func addVXLANPeer(peer *netlab.Host, mac net.HardwareAddr) error {
	device, err := netlink.LinkByName(vxlanDevice)
	if err != nil {
		return err
	}
	index, base := device.Attrs().Index, subnetOf(peer.Number).Addr()
	err = netlink.NeighSet(&netlink.Neigh{
		LinkIndex: index, State: netlink.NUD_PERMANENT, Type: unix.RTN_UNICAST, IP: base.AsSlice(), HardwareAddr: mac,
	})
	if err != nil {
		return fmt.Errorf("neighbour: %w", err)
	}
	err = netlink.NeighSet(&netlink.Neigh{
		LinkIndex: index, State: netlink.NUD_PERMANENT, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF,
		IP: peer.Addr.AsSlice(), HardwareAddr: mac,
	})
	if err != nil {
		return fmt.Errorf("forwarding entry: %w", err)
	}
	return netlink.RouteReplace(&netlink.Route{
		LinkIndex: index, Dst: ipNet(subnetOf(peer.Number)), Gw: base.AsSlice(), Flags: int(netlink.FLAG_ONLINK),
	})
}

// raiseDevice gives a device that some program made its MTU and address, sets it up, and routes the
// given subnets through it, in the current namespace.
func raiseDevice(name string, mtu int, addr netip.Prefix, subnets ...netip.Prefix) error {
	device, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding device %s: %w", name, err)
	}
	if err := netlink.LinkSetMTU(device, mtu); err != nil {
		return fmt.Errorf("setting MTU %d of device %s: %w", mtu, name, err)
	}
	if err := netlink.AddrAdd(device, &netlink.Addr{IPNet: ipNet(addr)}); err != nil {
		return fmt.Errorf("adding address %s to device %s: %w", addr, name, err)
	}
	if err := netlink.LinkSetUp(device); err != nil {
		return fmt.Errorf("setting up device %s: %w", name, err)
	}
	for _, subnet := range subnets {
		if err := netlink.RouteReplace(&netlink.Route{LinkIndex: device.Attrs().Index, Dst: ipNet(subnet)}); err != nil {
			return fmt.Errorf("adding route %s through device %s: %w", subnet, name, err)
		}
	}
	return nil
}

// ipNet is the prefix as netlink wants it.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
