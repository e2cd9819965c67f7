package kerneltest

import (
	"net/netip"
	"slices"
	"syscall"

	"weft/kernelmode"
)

// AddTUN makes a device as opening a TUN does: down, with the kernel's defaults.
func (k *Kernel) AddTUN(name string, mtu int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state.Links = append(k.state.Links, kernelmode.Link{
		Name: name, Kind: kernelmode.LinkTUN, MTU: mtu, TxQueueLen: 500, GSOMaxSize: 65536,
	})
	k.notify(kernelmode.Event{Kind: kernelmode.EventLink, Device: name})
}

// AddDevice makes a device that is up, of a kind that nobody here makes: an underlay. Its addresses come
// with their connected routes.
func (k *Kernel) AddDevice(name string, mtu int, addresses ...netip.Prefix) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state.Links = append(k.state.Links, kernelmode.Link{
		Name: name, Kind: "veth", MTU: mtu, Up: true, TxQueueLen: 1000, GSOMaxSize: 65536,
	})
	for _, p := range addresses {
		k.state.Addresses = append(k.state.Addresses, kernelmode.Address{Dev: name, Prefix: p})
		r := kernelmode.Route{Dst: p.Masked(), Dev: name, Metric: 256, Protocol: kernelmode.ProtocolKernel}
		if p.Addr().Is4() {
			r.Metric, r.Src, r.Scope = 0, p.Addr(), kernelmode.ScopeLink
		}
		k.state.Routes = append(k.state.Routes, r)
	}
	k.notify(kernelmode.Event{Kind: kernelmode.EventLink, Device: name})
}

// DeleteLink removes a device and everything on it, and the VXLAN devices over it; ENODEV if there is
// none.
func (k *Kernel) DeleteLink(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.deleteLink(name)
}

func (k *Kernel) deleteLink(name string) error {
	for _, over := range slices.Clone(k.state.Links) {
		if over.VXLAN.Parent == name {
			k.deleteLink(over.Name)
		}
	}
	before := len(k.state.Links)
	k.state.Links = slices.DeleteFunc(k.state.Links, func(l kernelmode.Link) bool { return l.Name == name })
	if len(k.state.Links) == before {
		return syscall.ENODEV
	}
	k.dropAddresses(func(a kernelmode.Address) bool { return a.Dev == name })
	k.dropRoutes(func(r kernelmode.Route) bool { return r.Dev == name })
	k.dropNeighbours(name)
	k.state.Sysctls = slices.DeleteFunc(k.state.Sysctls, func(s kernelmode.Sysctl) bool { return s.Device() == name })
	k.state.FDB = slices.DeleteFunc(k.state.FDB, func(f kernelmode.FDBEntry) bool { return f.Dev == name })
	k.notify(kernelmode.Event{Kind: kernelmode.EventLink, Device: name})
	return nil
}

// State returns all that there is.
func (k *Kernel) State() kernelmode.State {
	k.mu.Lock()
	defer k.mu.Unlock()
	return kernelmode.State{}.With(k.state.Objects()...)
}

// Ops returns the operations that Do was called with, and forgets them.
func (k *Kernel) Ops() []kernelmode.Op {
	k.mu.Lock()
	defer k.mu.Unlock()
	ops := k.ops
	k.ops = nil
	return ops
}

// FailDo makes Do ask first: an error is returned in the kernel's stead, and nothing happens. nil
// ends it. f runs unlocked, so it may act on the Kernel itself, as a program in a race would.
func (k *Kernel) FailDo(f func(kernelmode.Op) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failDo = f
}

// FailRead makes Read ask first, as FailDo does. f runs locked.
func (k *Kernel) FailRead(f func() error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failRead = f
}

// BreakWatch ends every Watch with the error.
func (k *Kernel) BreakWatch(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for w := range k.watchers {
		select {
		case w.broken <- err:
		default:
		}
	}
}

// SetInterfaces replaces what Interfaces returns.
func (k *Kernel) SetInterfaces(all ...kernelmode.Interface) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.interfaces = all
	k.notify(kernelmode.Event{Kind: kernelmode.EventLink})
}

// SetReach says which device packets for an address leave by; "" for none.
func (k *Kernel) SetReach(ip netip.Addr, device string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.reach, ip)
	if device != "" {
		k.reach[ip] = device
	}
}
