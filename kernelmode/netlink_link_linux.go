package kernelmode

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// readLink reads one device, if it is there, and notes its index.
func (k *Netlink) readLink(name string, s *State, devices map[int]string) error {
	link, err := k.link(name)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	attrs := link.Attrs()
	devices[attrs.Index] = name
	l := Link{
		Name: name, Kind: LinkKind(link.Type()), MTU: attrs.MTU, Up: attrs.Flags&net.FlagUp != 0,
		TxQueueLen: attrs.TxQLen, GSOMaxSize: int(attrs.GSOMaxSize),
	}
	if len(attrs.HardwareAddr) == len(MAC{}) {
		l.MAC = MAC(attrs.HardwareAddr)
	}
	if link.Type() == "tuntap" { // what the library calls a device of kind tun
		l.Kind = LinkTUN
	}
	if l.Kind.made() {
		if err := k.readTunnel(&l, attrs.Index, devices); err != nil {
			return err
		}
	}
	err = k.within(func() error {
		mode, err := readSysctl("net/ipv6/conf/" + name + "/addr_gen_mode")
		l.NoAddrGen = err != nil || mode == "1" // without IPv6 nothing makes addresses
		return nil
	})
	s.Links = append(s.Links, l)
	return err
}

// readTunnel asks for the attributes of the device's kind. The library's own reader leaves some out.
func (k *Netlink) readTunnel(l *Link, index int, devices map[int]string) error {
	var messages [][]byte
	err := k.within(func() (err error) {
		request := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
		message := nl.NewIfInfomsg(unix.AF_UNSPEC)
		message.Index = int32(index)
		request.AddData(message)
		messages, err = request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
		return err
	})
	if gone(err) || err == nil && len(messages) != 1 {
		return unix.EINTR // it went just now: what was read so far is old
	}
	if err != nil {
		return err
	}
	data := infoData(messages[0])
	if l.Kind == LinkIPIP {
		l.IPIP = parseIPIP(data)
		return nil
	}
	parent := 0
	if l.VXLAN, parent = parseVXLAN(data); parent == 0 {
		return nil
	}
	l.VXLAN.Parent, err = k.name(parent, devices)
	return err
}

// doLink makes, changes or deletes a device.
func (k *Netlink) doLink(verb Verb, want Link) error {
	if verb != Change && !want.Kind.made() {
		return fmt.Errorf("%s of a %s device: its owner does that: %w", verb, want.Kind, errors.ErrUnsupported)
	}
	if verb == Add {
		if err := k.addLink(want); err != nil {
			return err
		}
	}
	link, err := k.link(want.Name)
	if err != nil {
		return err
	}
	if verb == Delete {
		return k.handle.LinkDel(link)
	}
	return k.setLink(want, link)
}

// addLink makes the device as flannel does. Its transmit queue is left at length 0, since nothing
// queues there.
func (k *Netlink) addLink(want Link) error {
	attrs := netlink.LinkAttrs{Name: want.Name, MTU: want.MTU, NetNsID: -1}
	if want.TxQueueLen != 0 {
		attrs.TxQLen = want.TxQueueLen
	}
	if want.MAC != (MAC{}) {
		attrs.HardwareAddr = want.MAC[:]
	}
	if want.Kind == LinkIPIP {
		return k.handle.LinkAdd(&netlink.Iptun{LinkAttrs: attrs, Local: want.IPIP.Local.AsSlice(), Remote: want.IPIP.Remote.AsSlice()})
	}
	v := want.VXLAN
	device := &netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: int(v.VNI), Port: int(v.Port), SrcAddr: v.Local.AsSlice(),
		Learning: v.Learning, GBP: v.GBP,
	}
	if v.Parent != "" {
		parent, err := k.link(v.Parent)
		if err != nil {
			return fmt.Errorf("underlying device %s: %w", v.Parent, err)
		}
		device.VtepDevIndex = parent.Attrs().Index
	}
	return k.handle.LinkAdd(device)
}

// setLink sets only what differs, the device's going up last: an address that the kernel makes by then
// would have to be taken off again.
func (k *Netlink) setLink(want Link, link netlink.Link) error {
	attrs := link.Attrs()
	steps := []struct {
		what string
		need bool
		set  func() error
	}{
		{"mtu", attrs.MTU != want.MTU, func() error { return k.handle.LinkSetMTU(link, want.MTU) }},
		{"txqueuelen", want.TxQueueLen != 0 && attrs.TxQLen != want.TxQueueLen, func() error { return k.handle.LinkSetTxQLen(link, want.TxQueueLen) }},
		{"gso_max_size", want.GSOMaxSize != 0 && int(attrs.GSOMaxSize) != want.GSOMaxSize, func() error { return k.handle.LinkSetGSOMaxSize(link, want.GSOMaxSize) }},
		{"address", want.MAC != MAC{} && string(attrs.HardwareAddr) != string(want.MAC[:]), func() error { return k.handle.LinkSetHardwareAddr(link, want.MAC[:]) }},
		{"addrgenmode", want.NoAddrGen, func() error { return k.noAddrGen(link) }},
		{"up", want.Up && attrs.Flags&net.FlagUp == 0, func() error { return k.handle.LinkSetUp(link) }},
		{"down", !want.Up && attrs.Flags&net.FlagUp != 0, func() error { return k.handle.LinkSetDown(link) }},
	}
	var errs []error
	for _, s := range steps {
		if !s.need {
			continue
		}
		if err := s.set(); err != nil {
			errs = append(errs, fmt.Errorf("setting %s: %w", s.what, err))
		}
	}
	return errors.Join(errs...)
}

// noAddrGen goes through netlink rather than /proc/sys, which is read-only in most containers. A kernel
// without IPv6 makes no addresses in any case.
func (k *Netlink) noAddrGen(link netlink.Link) error {
	err := k.handle.LinkSetIP6AddrGenMode(link, nl.IN6_ADDR_GEN_MODE_NONE)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil
	}
	return err
}

// link looks a device up by name; ENODEV if there is none.
func (k *Netlink) link(name string) (netlink.Link, error) {
	link, err := k.handle.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil, unix.ENODEV
	}
	return link, err
}

// index looks a device up by name; ENODEV if there is none. With thousands of peers this is asked before
// each operation, and an ioctl takes a tenth of what a netlink message about the device does.
func (k *Netlink) index(name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, unix.ENODEV // no device has such a name
	}
	err = unix.IoctlIfreq(k.asking, unix.SIOCGIFINDEX, request)
	return int(int32(request.Uint32())), err
}

// name looks a device up by index, first among those already known. EINTR: it went between two reads,
// and what was read so far is old.
func (k *Netlink) name(index int, known map[int]string) (string, error) {
	if name := known[index]; name != "" {
		return name, nil
	}
	link, err := k.handle.LinkByIndex(index)
	if err != nil {
		return "", unix.EINTR
	}
	return link.Attrs().Name, nil
}
