package kerneltest

import (
	"syscall"

	"weft/kernelmode"
)

func (k *Kernel) doLink(verb kernelmode.Verb, want kernelmode.Link) error {
	tunnel := want.Kind == kernelmode.LinkVXLAN || want.Kind == kernelmode.LinkIPIP
	switch {
	case verb != kernelmode.Change && !tunnel:
		return syscall.EOPNOTSUPP // nobody but its owner makes or deletes a TUN
	case verb == kernelmode.Delete:
		return k.deleteLink(want.Name)
	case verb == kernelmode.Add:
		if err := k.addTunnel(want); err != nil {
			return err
		}
	case k.link(want.Name) == nil:
		return syscall.ENODEV
	}
	return k.setLink(want)
}

// addTunnel makes the checks of vxlan_dev_configure and ip_tunnel_newlink: the underlying device has to
// be there, and no two devices may claim the same packets.
func (k *Kernel) addTunnel(want kernelmode.Link) error {
	if want.VXLAN.Parent != "" && k.link(want.VXLAN.Parent) == nil {
		return syscall.ENODEV
	}
	for _, l := range k.state.Links {
		same := l.Kind == want.Kind && l.IPIP == want.IPIP &&
			l.VXLAN.VNI == want.VXLAN.VNI && l.VXLAN.Port == want.VXLAN.Port && l.VXLAN.Local.Is4() == want.VXLAN.Local.Is4()
		if l.Name == want.Name || same {
			return syscall.EEXIST
		}
	}
	made := kernelmode.Link{
		Name: want.Name, Kind: want.Kind, MTU: want.MTU, GSOMaxSize: 65536, MAC: want.MAC, VXLAN: want.VXLAN, IPIP: want.IPIP,
	}
	if want.Kind == kernelmode.LinkVXLAN && made.MAC == (kernelmode.MAC{}) {
		made.MAC = kernelmode.NewMAC()
	}
	k.state.Links = append(k.state.Links, made)
	k.state.Sysctls = append(k.state.Sysctls, kernelmode.Sysctl{Name: "net/ipv6/conf/" + made.Name + "/accept_ra", Value: "1"})
	return nil
}

// setLink changes a device, with what that does to the things on it.
func (k *Kernel) setLink(want kernelmode.Link) error {
	l := k.link(want.Name)
	defer k.notify(kernelmode.Event{Kind: kernelmode.EventLink, Device: want.Name})
	if parent := k.link(l.VXLAN.Parent); parent != nil && want.MTU > parent.MTU-headroom(l) {
		return syscall.EINVAL // vxlan_change_mtu
	}
	l.MTU = want.MTU
	if want.TxQueueLen != 0 {
		l.TxQueueLen = want.TxQueueLen
	}
	if want.GSOMaxSize != 0 {
		l.GSOMaxSize = want.GSOMaxSize
	}
	if want.MAC != (kernelmode.MAC{}) && want.MAC != l.MAC {
		l.MAC = want.MAC
		k.dropNeighbours(l.Name) // neigh_changeaddr
	}
	l.NoAddrGen = l.NoAddrGen || want.NoAddrGen
	k.setUp(l, want.Up)
	return nil
}

func (k *Kernel) setUp(l *kernelmode.Link, up bool) {
	on4 := func(r kernelmode.Route) bool { return r.Dev == l.Name && r.Dst.Addr().Is4() }
	on6 := func(r kernelmode.Route) bool { return r.Dev == l.Name && r.Dst.Addr().Is6() }
	address6 := func(a kernelmode.Address) bool { return a.Dev == l.Name && a.Prefix.Addr().Is6() }
	if l.Up && !up {
		k.dropRoutes(on4)
		k.dropNeighbours(l.Name)
	}
	if l.Up && !up || l.MTU < 1280 {
		k.dropRoutes(on6)
		k.dropAddresses(address6)
	}
	l.Up = up
}

// headroom is what a VXLAN device takes off its parent's MTU.
func headroom(l *kernelmode.Link) int {
	if l.VXLAN.Local.Is6() {
		return kernelmode.OverheadVXLAN6
	}
	return kernelmode.OverheadVXLAN4
}
