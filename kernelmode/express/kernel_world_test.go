package express_test

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/kernelmode/express"
	"weft/perf/netlab"
)

// kernelDevice is the tunnel device of the hosts that are the kernel's own.
const kernelDevice = "tunnel0"

// openKernel makes a host's vxlan or ipip device and its container. Nothing runs there.
func (w *world) openKernel(n *node) error {
	if err := n.host.Do(func() error { return w.addKernelDevice(n) }); err != nil {
		return err
	}
	return w.addContainer(n)
}

func (w *world) addKernelDevice(n *node) error {
	underlay, err := netlink.LinkByName(n.host.Device())
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = kernelDevice, w.mtu()
	var device netlink.Link
	if w.encap == express.EncapIPIP {
		device = &netlink.Iptun{LinkAttrs: attrs, Local: n.host.Addr.AsSlice(), PMtuDisc: 1}
	} else {
		mac := macOf(n.host, w.outer6)
		attrs.HardwareAddr = mac[:]
		device = &netlink.Vxlan{
			LinkAttrs: attrs, VxlanId: testVNI, Port: vxlanPort, VtepDevIndex: underlay.Attrs().Index,
			SrcAddr: w.outer(n).AsSlice(), UDPCSum: true, UDP6ZeroCSumRx: true,
		}
	}
	if err := netlink.LinkAdd(device); err != nil {
		return fmt.Errorf("adding %s: %w", kernelDevice, err)
	}
	made, err := netlink.LinkByName(kernelDevice)
	if err != nil {
		return err
	}
	for _, own := range w.subnets(n) {
		addr := &netlink.Addr{IPNet: hostNet(own.Addr())}
		if own.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(made, addr); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(made); err != nil {
		return err
	}
	for _, peer := range w.lab.Hosts() {
		if peer != n.host {
			if err := w.addKernelPeer(made, peer); err != nil {
				return fmt.Errorf("adding peer %d: %w", peer.Number, err)
			}
		}
	}
	return nil
}

// addKernelPeer lays out what leads to one peer, as flannel does.
func (w *world) addKernelPeer(device netlink.Link, peer *netlab.Host) error {
	index, mac := device.Attrs().Index, macOf(peer, w.outer6)
	outer := peer.Addr
	if w.outer6 {
		outer = peer.Addr6
	}
	if w.encap == express.EncapVXLAN {
		if err := netlink.NeighAppend(&netlink.Neigh{
			LinkIndex: index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
			IP: outer.AsSlice(), HardwareAddr: net.HardwareAddr(mac[:]),
		}); err != nil {
			return err
		}
	}
	for _, subnet := range w.subnets(&node{host: peer}) {
		via := outer
		if w.encap == express.EncapVXLAN {
			via = subnet.Addr()
			if err := netlink.NeighSet(&netlink.Neigh{
				LinkIndex: index, State: netlink.NUD_PERMANENT, IP: via.AsSlice(), HardwareAddr: net.HardwareAddr(mac[:]),
			}); err != nil {
				return err
			}
		}
		if err := netlink.RouteReplace(&netlink.Route{
			LinkIndex: index, Gw: via.AsSlice(), Flags: int(netlink.FLAG_ONLINK),
			Dst: &net.IPNet{IP: subnet.Addr().AsSlice(), Mask: net.CIDRMask(subnet.Bits(), subnet.Addr().BitLen())},
		}); err != nil {
			return err
		}
	}
	return nil
}

func hostNet(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}
