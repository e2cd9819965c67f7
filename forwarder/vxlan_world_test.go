package forwarder_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"weft/perf/netlab"
	"weft/routes"
	"weft/tunnel"
)

// The VXLAN hosts of these fabrics: userspace ones, and the kernel's own devices laid out as flannel does.
// Each has a VTEP MAC of either family, known beforehand, as leases tell it.
var (
	fastVXLAN   = variant{name: "fast VXLAN", queues: openFastQueues, conn: openFastConn, workers: 1, ports: 1, encap: routes.EncapVXLAN}
	manyVXLAN   = variant{name: "VXLAN of many workers", queues: openFastQueues, conn: openFastConn, workers: 2, ports: 2, encap: routes.EncapVXLAN}
	slowVXLAN   = variant{name: "portable VXLAN", queues: openPortableQueues, conn: openPortableConn, workers: 1, ports: 1, encap: routes.EncapVXLAN}
	kernelVXLAN = variant{name: "kernel VXLAN", kernel: true, encap: routes.EncapVXLAN}
)

// encapsulation is what the encapsulation of the fabric adds to the outer headers.
func (f *fabric) encapsulation() int {
	switch f.spec.variants[0].encap {
	case routes.EncapVXLAN:
		return tunnel.VXLANHeaderLen
	case routes.EncapIPIP:
		return -8 // no UDP header
	}
	return 0
}

// vxlanHop is a new hop to the peer's device of a family.
func (f *fabric) vxlanHop(peer *netlab.Host, is4 bool) *routes.Hop {
	hop := &routes.Hop{Encapsulation: routes.EncapVXLAN, VNI: testVNI, RemoteSums: f.spec.remcsum, Echoes: f.spec.echoes}
	if is4 {
		hop.Outer, hop.VTEPMAC = netip.AddrPortFrom(peer.Addr, vxlanPort), macOf(peer.Number, 4)
		return hop
	}
	hop.Outer, hop.VTEPMAC = netip.AddrPortFrom(peer.Addr6, vxlanPort), macOf(peer.Number, 6)
	hop.SetMTU(f.spec.mtu - headers6 - tunnel.VXLANHeaderLen)
	return hop
}

// openKernel makes a host's vxlan devices and its container. Nothing runs there.
func (f *fabric) openKernel(n *node) error {
	err := n.host.Do(func() error {
		if n.encap == routes.EncapIPIP {
			return f.addKernelIPIP(n.host)
		}
		for _, s := range f.subnets(n.host.Number) {
			if err := f.addKernelDevice(n.host, s); err != nil {
				return fmt.Errorf("adding vxlan device for %v: %w", s, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.addContainer(n)
}

// A kernelDevice is flannel's device of one family on one host.
type kernelDevice struct {
	name    string
	is4     bool
	headers int
	bits    int // of an address
}

func deviceOf(is4 bool) kernelDevice {
	if is4 {
		return kernelDevice{"flannel.1", true, headers4, 32}
	}
	return kernelDevice{"flannel-v6.1", false, headers6, 128}
}

func (d kernelDevice) outer(h *netlab.Host) netip.Addr {
	if d.is4 {
		return h.Addr
	}
	return h.Addr6
}

func (d kernelDevice) mac(h *netlab.Host) net.HardwareAddr {
	family := 6
	if d.is4 {
		family = 4
	}
	mac := macOf(h.Number, family)
	return mac[:]
}

// addKernelDevice makes the device for one own subnet, and what leads to all peers, in the current
// namespace.
func (f *fabric) addKernelDevice(host *netlab.Host, own netip.Prefix) error {
	d := deviceOf(own.Addr().Is4())
	underlay, err := netlink.LinkByName(host.Device())
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = d.name, f.spec.mtu-d.headers-tunnel.VXLANHeaderLen, d.mac(host)
	if f.spec.remcsum {
		err = addRemcsumDevice(host, d, attrs)
	} else {
		err = netlink.LinkAdd(&netlink.Vxlan{
			LinkAttrs: attrs, VxlanId: testVNI, Port: vxlanPort, VtepDevIndex: underlay.Attrs().Index,
			SrcAddr: d.outer(host).AsSlice(), UDPCSum: true,
		})
	}
	if err != nil {
		return err
	}
	device, err := netlink.LinkByName(d.name)
	if err != nil {
		return err
	}
	base := &netlink.Addr{IPNet: prefixNet(netip.PrefixFrom(own.Addr(), d.bits))}
	if !d.is4 {
		base.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(device, base); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(device); err != nil {
		return err
	}
	for _, peer := range f.lab.Hosts() {
		if peer != host {
			if err := f.addKernelPeer(device, d, peer); err != nil {
				return fmt.Errorf("adding peer %d: %w", peer.Number, err)
			}
		}
	}
	return nil
}

// addRemcsumDevice makes a device that leaves inner checksums to its peers and takes it from them. The library
// knows no attribute for that, so that the message is written here (include/uapi/linux/if_link.h).
func addRemcsumDevice(host *netlab.Host, d kernelDevice, attrs netlink.LinkAttrs) error {
	underlay, err := netlink.LinkByName(host.Device())
	if err != nil {
		return err
	}
	local := nl.IFLA_VXLAN_LOCAL
	if !d.is4 {
		local = nl.IFLA_VXLAN_LOCAL6
	}
	request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	request.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(d.name)))
	request.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, attrs.HardwareAddr))
	request.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(attrs.MTU))))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("vxlan"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_VXLAN_ID, nl.Uint32Attr(testVNI))
	data.AddRtAttr(nl.IFLA_VXLAN_LINK, nl.Uint32Attr(uint32(underlay.Attrs().Index)))
	data.AddRtAttr(local, d.outer(host).AsSlice())
	data.AddRtAttr(nl.IFLA_VXLAN_PORT, binary.BigEndian.AppendUint16(nil, vxlanPort))
	for attribute, value := range map[int]uint8{
		nl.IFLA_VXLAN_LEARNING: 0, nl.IFLA_VXLAN_UDP_CSUM: 1, nl.IFLA_VXLAN_REMCSUM_TX: 1, nl.IFLA_VXLAN_REMCSUM_RX: 1,
	} {
		data.AddRtAttr(attribute, nl.Uint8Attr(value))
	}
	request.AddData(info)
	if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("adding vxlan device with remote checksums: %w", err)
	}
	return nil
}

// addKernelPeer adds the route, the neighbour and the forwarding entry of a peer. An asking host gets
// the entry that its broadcasts go to in the neighbour's place.
func (f *fabric) addKernelPeer(device netlink.Link, d kernelDevice, peer *netlab.Host) error {
	index := device.Attrs().Index
	for _, s := range f.subnets(peer.Number) {
		if s.Addr().Is4() != d.is4 {
			continue
		}
		entry := &netlink.Neigh{
			LinkIndex: index, State: netlink.NUD_PERMANENT, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF,
			IP: d.outer(peer).AsSlice(), HardwareAddr: d.mac(peer),
		}
		if err := netlink.NeighSet(entry); err != nil {
			return fmt.Errorf("forwarding entry: %w", err)
		}
		if f.spec.asking {
			entry.HardwareAddr = make(net.HardwareAddr, 6)
			if err := netlink.NeighAppend(entry); err != nil {
				return fmt.Errorf("entry for broadcasts: %w", err)
			}
		} else if err := netlink.NeighSet(&netlink.Neigh{
			LinkIndex: index, State: netlink.NUD_PERMANENT, Type: unix.RTN_UNICAST,
			IP: s.Addr().AsSlice(), HardwareAddr: d.mac(peer),
		}); err != nil {
			return fmt.Errorf("neighbour: %w", err)
		}
		if err := netlink.RouteReplace(&netlink.Route{
			LinkIndex: index, Dst: prefixNet(s), Gw: s.Addr().AsSlice(), Flags: int(netlink.FLAG_ONLINK),
		}); err != nil {
			return fmt.Errorf("route: %w", err)
		}
	}
	return nil
}

func prefixNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
