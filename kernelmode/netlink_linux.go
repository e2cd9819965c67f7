package kernelmode

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Netlink is the Kernel of one network namespace. Its sockets and descriptors stay in it, whichever
// thread calls.
type Netlink struct {
	handle *netlink.Handle
	ns     netns.NsHandle
}

var _ Kernel = (*Netlink)(nil)

// Open binds to the network namespace of the calling thread. Close it after use.
func Open() (*Netlink, error) {
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("opening the current network namespace: %w", err)
	}
	return open(ns)
}

// OpenAt binds to the network namespace at a path, such as /run/netns/blue or /proc/4711/ns/net.
func OpenAt(path string) (*Netlink, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("opening network namespace %s: %w", path, err)
	}
	return open(ns)
}

func open(ns netns.NsHandle) (*Netlink, error) {
	k := &Netlink{ns: ns}
	err := k.within(func() (err error) {
		k.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	return k, nil
}

// Close releases the sockets. Nothing in the kernel changes.
func (k *Netlink) Close() error {
	k.handle.Close()
	return k.ns.Close()
}

// within runs f on a thread in the namespace. Where the caller already is in it, no privilege is
// needed. A thread that can't be brought back stays locked, and so ends with its goroutine.
func (k *Netlink) within(f func() error) error {
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("finding the thread's network namespace: %w", err)
	}
	defer here.Close()
	if here.Equal(k.ns) {
		defer runtime.UnlockOSThread()
		return f()
	}
	if err := netns.Set(k.ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering the network namespace: %w", err)
	}
	err = f()
	if back := netns.Set(here); back != nil {
		return errors.Join(err, fmt.Errorf("leaving the network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// Read implements Kernel.
func (k *Netlink) Read(scope Scope) (State, error) {
	var s State
	devices := map[int]string{}
	for _, name := range scope.Devices {
		if err := k.readDevice(name, &s, devices); err != nil {
			return State{}, fmt.Errorf("device %s: %w", name, err)
		}
	}
	if err := k.readRoutes(scope, &s, devices); err != nil {
		return State{}, fmt.Errorf("routes: %w", err)
	}
	err := k.within(func() error {
		for _, name := range scope.Sysctls {
			if value, err := readSysctl(name); err == nil {
				s.Sysctls = append(s.Sysctls, Sysctl{name, value})
			} else if !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		return nil
	})
	return s, err
}

func (k *Netlink) readDevice(name string, s *State, devices map[int]string) error {
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
	if link.Type() == "tuntap" { // what the library calls a device of kind tun
		l.Kind = LinkTUN
	}
	if err := k.within(func() error {
		mode, err := readSysctl("net/ipv6/conf/" + name + "/addr_gen_mode")
		l.NoAddrGen = err != nil || mode == "1" // without IPv6 nothing makes addresses
		return nil
	}); err != nil {
		return err
	}
	s.Links = append(s.Links, l)
	addresses, err := k.handle.AddrList(link, netlink.FAMILY_ALL)
	for _, a := range addresses {
		if a.Scope == unix.RT_SCOPE_UNIVERSE {
			s.Addresses = append(s.Addresses, Address{name, prefixOf(a.IPNet)})
		}
	}
	if err != nil {
		return fmt.Errorf("addresses: %w", err)
	}
	return k.readNeighbours(name, attrs.Index, s)
}

func (k *Netlink) readNeighbours(name string, index int, s *State) error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE} {
		entries, err := k.handle.NeighList(index, family)
		if err != nil {
			return fmt.Errorf("neighbours: %w", err)
		}
		for _, n := range entries {
			ip, ok := netip.AddrFromSlice(n.IP)
			if n.State&netlink.NUD_PERMANENT == 0 || !ok || len(n.HardwareAddr) != 6 {
				continue
			}
			if family == unix.AF_BRIDGE {
				s.FDB = append(s.FDB, FDBEntry{name, MAC(n.HardwareAddr), ip.Unmap()})
			} else {
				s.Neighbours = append(s.Neighbours, Neighbour{name, ip.Unmap(), MAC(n.HardwareAddr)})
			}
		}
	}
	return nil
}

func (k *Netlink) readRoutes(scope Scope, s *State, devices map[int]string) error {
	wanted := interestOf(scope)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := k.handle.RouteListFiltered(family, &netlink.Route{}, 0)
		if err != nil {
			return err
		}
		for _, r := range routes {
			dst := prefixOf(r.Dst)
			if r.Tos != 0 || uint8(r.Protocol) != RouteProtocol && !wanted.destinations[dst] {
				continue
			}
			route, err := k.route(r, dst, devices)
			if err != nil {
				return err
			}
			s.Routes = append(s.Routes, route)
		}
	}
	return nil
}

// route converts what the library read. A route with several next hops keeps no device, and so never
// equals a wanted one.
func (k *Netlink) route(r netlink.Route, dst netip.Prefix, devices map[int]string) (Route, error) {
	out := Route{
		Dst: dst, Via: addrOf(r.Gw), Src: addrOf(r.Src), Metric: uint32(r.Priority), MTU: uint32(r.MTU),
		Scope: RouteScope(r.Scope), Onlink: r.Flags&int(netlink.FLAG_ONLINK) != 0, Protocol: uint8(r.Protocol),
	}
	if r.Type != unix.RTN_UNICAST {
		out.Kind = RouteKind(r.Type)
		return out, nil // IPv6 has these on the loopback device, IPv4 on none
	}
	if r.LinkIndex == 0 {
		return out, nil
	}
	if devices[r.LinkIndex] == "" {
		link, err := k.handle.LinkByIndex(r.LinkIndex)
		if err != nil {
			return Route{}, unix.EINTR // it went between two dumps: what was read so far is old
		}
		devices[r.LinkIndex] = link.Attrs().Name
	}
	out.Dev = devices[r.LinkIndex]
	return out, nil
}

// link looks a device up by name; ENODEV if there is none.
func (k *Netlink) link(name string) (netlink.Link, error) {
	link, err := k.handle.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil, unix.ENODEV
	}
	return link, err
}

// Do implements Kernel.
func (k *Netlink) Do(op Op) error {
	var link netlink.Link
	if name := op.Object.Device(); name != "" {
		var err error
		if link, err = k.link(name); err != nil {
			return err
		}
	}
	switch o := op.Object.(type) {
	case Link:
		return k.doLink(op.Verb, o, link)
	case Address:
		return k.doAddress(op.Verb, o, link)
	case Neighbour:
		return k.doNeighbour(op.Verb, &netlink.Neigh{
			LinkIndex: link.Attrs().Index, IP: o.IP.AsSlice(), HardwareAddr: o.MAC[:], State: netlink.NUD_PERMANENT,
		})
	case FDBEntry:
		return k.doNeighbour(op.Verb, &netlink.Neigh{
			LinkIndex: link.Attrs().Index, IP: o.Dst.AsSlice(), HardwareAddr: o.MAC[:], State: netlink.NUD_PERMANENT,
			Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF,
		})
	case Route:
		return k.doRoute(op.Verb, o, link)
	case Sysctl:
		return k.within(func() error { return writeSysctl(o) })
	}
	return fmt.Errorf("operation %v: %w", op, errors.ErrUnsupported)
}

// doLink sets only what differs, the device's going up last: an address that the kernel makes by then
// would have to be taken off again.
func (k *Netlink) doLink(verb Verb, want Link, link netlink.Link) error {
	if verb != Change {
		return fmt.Errorf("%s of a %s device: its owner does that: %w", verb, want.Kind, errors.ErrUnsupported)
	}
	attrs := link.Attrs()
	steps := []struct {
		what string
		need bool
		set  func() error
	}{
		{"mtu", attrs.MTU != want.MTU, func() error { return k.handle.LinkSetMTU(link, want.MTU) }},
		{"txqueuelen", want.TxQueueLen != 0 && attrs.TxQLen != want.TxQueueLen, func() error { return k.handle.LinkSetTxQLen(link, want.TxQueueLen) }},
		{"gso_max_size", want.GSOMaxSize != 0 && int(attrs.GSOMaxSize) != want.GSOMaxSize, func() error { return k.handle.LinkSetGSOMaxSize(link, want.GSOMaxSize) }},
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

// doAddress skips duplicate detection: the address is this host's by lease, and a device without
// neighbours can't answer.
func (k *Netlink) doAddress(verb Verb, a Address, link netlink.Link) error {
	address := &netlink.Addr{IPNet: ipNet(a.Prefix)}
	if a.Prefix.Addr().Is6() {
		address.Flags = unix.IFA_F_NODAD
	}
	if verb == Delete {
		return k.handle.AddrDel(link, address)
	}
	return k.handle.AddrReplace(link, address)
}

func (k *Netlink) doNeighbour(verb Verb, n *netlink.Neigh) error {
	if verb == Delete {
		return k.handle.NeighDel(n)
	}
	return k.handle.NeighSet(n)
}

func (k *Netlink) doRoute(verb Verb, r Route, link netlink.Link) error {
	route := &netlink.Route{
		Dst: ipNet(r.Dst), Scope: netlink.Scope(r.Scope), Priority: int(r.Metric), MTU: int(r.MTU),
		Protocol: netlink.RouteProtocol(r.Protocol), Table: unix.RT_TABLE_MAIN, Type: int(r.Kind),
	}
	if link != nil {
		route.LinkIndex = link.Attrs().Index
	}
	if r.Via.IsValid() {
		route.Gw = r.Via.AsSlice()
	}
	if r.Src.IsValid() {
		route.Src = r.Src.AsSlice()
	}
	if r.Onlink {
		route.Flags = int(netlink.FLAG_ONLINK)
	}
	switch verb {
	case Delete:
		return k.handle.RouteDel(route)
	case Add: // never silently in the place of what came meanwhile
		return k.handle.RouteAdd(route)
	}
	return k.handle.RouteReplace(route)
}

func readSysctl(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join("/proc/sys", name))
	return strings.TrimSpace(string(text)), err
}

// writeSysctl doesn't ask for the file to be created, or a parameter that isn't there would be reported
// as a lack of permission.
func writeSysctl(s Sysctl) error {
	file, err := os.OpenFile(filepath.Join("/proc/sys", s.Name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(s.Value + "\n")
	return errors.Join(err, file.Close())
}

// prefixOf keeps the address unmasked. A nil network is the invalid Prefix.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addrOf(n.IP), bits)
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
