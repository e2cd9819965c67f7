package kerneltest

import (
	"slices"
	"syscall"

	"weft/kernelmode"
)

// ByHand carries out an operation as another program would: unrecorded and without faults.
func (k *Kernel) ByHand(op kernelmode.Op) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l, ok := op.Object.(kernelmode.Link); ok {
		return k.doLink(op.Verb, l)
	}
	if dev := op.Object.Device(); dev != "" && k.link(dev) == nil {
		return syscall.ENODEV
	}
	switch o := op.Object.(type) {
	case kernelmode.Address:
		return k.doAddress(op.Verb, o)
	case kernelmode.Route:
		return k.doRoute(op.Verb, o)
	case kernelmode.Neighbour:
		k.notify(kernelmode.Event{Kind: kernelmode.EventNeighbour, Device: o.Dev})
		return put(&k.state.Neighbours, op.Verb, o)
	case kernelmode.FDBEntry:
		k.notify(kernelmode.Event{Kind: kernelmode.EventNeighbour, Device: o.Dev})
		return put(&k.state.FDB, op.Verb, o)
	case kernelmode.Sysctl:
		return k.doSysctl(o)
	}
	return syscall.EOPNOTSUPP
}

func (k *Kernel) link(name string) *kernelmode.Link {
	i := slices.IndexFunc(k.state.Links, func(l kernelmode.Link) bool { return l.Name == name })
	if i < 0 {
		return nil
	}
	return &k.state.Links[i]
}

// put adds, replaces or deletes one object of a list.
func put[O interface {
	comparable
	kernelmode.Object
}](list *[]O, verb kernelmode.Verb, o O) error {
	i := slices.IndexFunc(*list, func(have O) bool { return have.Key() == o.Key() })
	switch {
	case verb == kernelmode.Delete && i < 0:
		return syscall.ENOENT
	case verb == kernelmode.Delete:
		*list = slices.Delete(*list, i, i+1)
	case i >= 0:
		(*list)[i] = o
	default:
		*list = append(*list, o)
	}
	return nil
}

func (k *Kernel) doAddress(verb kernelmode.Verb, a kernelmode.Address) error {
	is4 := a.Prefix.Addr().Is4()
	if verb == kernelmode.Delete {
		if !slices.Contains(k.state.Addresses, a) {
			return syscall.EADDRNOTAVAIL
		}
		k.dropAddresses(func(have kernelmode.Address) bool { return have == a })
		last := !slices.ContainsFunc(k.state.Addresses, func(have kernelmode.Address) bool {
			return have.Dev == a.Dev && have.Prefix.Addr().Is4()
		})
		if is4 && last { // fib_disable_ip, arp_ifdown
			k.dropRoutes(func(r kernelmode.Route) bool { return r.Dev == a.Dev && r.Dst.Addr().Is4() })
			k.state.Neighbours = slices.DeleteFunc(k.state.Neighbours, func(n kernelmode.Neighbour) bool {
				return n.Dev == a.Dev && n.IP.Is4()
			})
		}
		return nil
	}
	if !is4 && k.link(a.Dev).MTU < 1280 {
		return syscall.EINVAL
	}
	k.notify(kernelmode.Event{Kind: kernelmode.EventAddress, Device: a.Dev})
	return put(&k.state.Addresses, verb, a)
}

func (k *Kernel) doRoute(verb kernelmode.Verb, r kernelmode.Route) error {
	defer k.notify(kernelmode.Event{Kind: kernelmode.EventRoute, Device: r.Dev, Dst: r.Dst, Protocol: r.Protocol})
	if verb == kernelmode.Delete {
		i := slices.Index(k.state.Routes, r)
		if i < 0 {
			return syscall.ESRCH
		}
		k.state.Routes = slices.Delete(k.state.Routes, i, i+1)
		return nil
	}
	if err := k.usable(r); err != nil {
		return err
	}
	exists := slices.ContainsFunc(k.state.Routes, func(have kernelmode.Route) bool { return have.Key() == r.Key() })
	if verb == kernelmode.Add && exists {
		return syscall.EEXIST
	}
	return put(&k.state.Routes, verb, r)
}

// usable makes the checks of fib_check_nh: a device that is up, and a gateway that is on its link.
func (k *Kernel) usable(r kernelmode.Route) error {
	if r.Kind == kernelmode.Blackhole {
		return nil
	}
	l := k.link(r.Dev)
	switch {
	case l == nil:
		return syscall.ENODEV
	case !l.Up:
		return syscall.ENETDOWN
	case !r.Via.IsValid() || r.Onlink:
		return nil
	}
	for _, a := range k.state.Addresses {
		if a.Dev == r.Dev && a.Prefix.Masked().Contains(r.Via) {
			return nil
		}
	}
	return syscall.ENETUNREACH
}

func (k *Kernel) doSysctl(s kernelmode.Sysctl) error {
	for i := range k.state.Sysctls {
		if k.state.Sysctls[i].Name == s.Name {
			k.state.Sysctls[i] = s
			return nil
		}
	}
	if s.Device() == "" {
		return syscall.ENOENT
	}
	k.state.Sysctls = append(k.state.Sysctls, s) // a device has all of them, none of which Read told of
	return nil
}

func (k *Kernel) dropAddresses(these func(kernelmode.Address) bool) {
	k.state.Addresses = slices.DeleteFunc(k.state.Addresses, func(a kernelmode.Address) bool {
		if these(a) {
			k.notify(kernelmode.Event{Kind: kernelmode.EventAddress, Device: a.Dev})
			return true
		}
		return false
	})
}

// dropRoutes removes routes. Linux sends no event for the IPv4 routes that go with a device or an
// address (fib_table_flush), and neither does this.
func (k *Kernel) dropRoutes(these func(kernelmode.Route) bool) {
	k.state.Routes = slices.DeleteFunc(k.state.Routes, these)
}

func (k *Kernel) dropNeighbours(dev string) {
	k.state.Neighbours = slices.DeleteFunc(k.state.Neighbours, func(n kernelmode.Neighbour) bool { return n.Dev == dev })
}
