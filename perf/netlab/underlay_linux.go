package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// mountRunNetns makes /run/netns what iproute2 expects: a mount of its own that propagates. Names
// mounted on a plain directory would be hidden, and never freed, by the first `ip netns add`.
func mountRunNetns() error {
	if err := os.MkdirAll(runNetns, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", runNetns, err)
	}
	dir, err := os.Open(runNetns)
	if err != nil {
		return fmt.Errorf("opening %s: %w", runNetns, err)
	}
	defer dir.Close()
	// iproute2 takes the same lock, so that the directory isn't mounted on itself twice.
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %w", runNetns, err)
	}
	// Making it shared works only on a mount point, which is how iproute2 finds out, too.
	err = unix.Mount("", runNetns, "none", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount point yet
		if err = unix.Mount(runNetns, runNetns, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", runNetns, "none", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if err != nil {
		return fmt.Errorf("mounting %s shared: %w", runNetns, err)
	}
	return nil
}

// buildUnderlay makes the namespace between the hosts, which stands for the wires and switches (and
// the router, in a Routed lab).
func (l *Lab) buildUnderlay() (err error) {
	if l.underlay, err = l.addNamespace("underlay"); err != nil {
		return err
	}
	addr4, addr6 := l.config.planUnderlay()
	device := "lo"
	return l.underlay.Do(func() error {
		if l.config.Topology == Bridged {
			device = underlayBridge
			if err := l.addSegment(underlayBridge, 0); err != nil {
				return err
			}
		}
		l.addr4 = addr4.Addr()
		if err := addAddr(device, addr4); err != nil {
			return err
		}
		if !hasIPv6() {
			return nil
		}
		l.addr6 = addr6.Addr()
		return addAddr(device, addr6)
	})
}

// plugHost connects the host's eth0 to port hN of its bridge in the underlay.
func (l *Lab) plugHost(h *Host) error {
	port, bridge := "h"+strconv.Itoa(h.Number), underlayBridge
	if l.config.Topology == Routed {
		bridge = "net" + strconv.Itoa(h.Number)
	}
	h.Uplink = &Link{lab: l, host: h.Namespace, far: l.underlay, port: port, bridge: bridge, mtu: l.config.MTU,
		routed: l.config.Topology == Routed}
	return l.underlay.Do(func() error {
		if l.config.Topology == Routed {
			if err := l.addGateway(h.Number, bridge); err != nil {
				return err
			}
		}
		veth := vethPair{near: port, far: hostDevice, farSpace: h.Namespace, mtu: l.config.MTU}
		if err := addVeth(veth); err != nil {
			return err
		}
		return errors.Join(silence(port), setMaster(port, bridge))
	})
}

// addSegment makes one L2 segment of the underlay, a bridge. A veth that leads nowhere keeps the bridge's
// carrier while the hosts' ports are out (cut, or impaired): the kernel takes up to a second to use a
// device again whose carrier was lost. n makes its name unique.
func (l *Lab) addSegment(bridge string, n int) error {
	if err := addBridge(bridge, l.config.MTU); err != nil {
		return err
	}
	keeper, end := "keep"+strconv.Itoa(n), "end"+strconv.Itoa(n)
	if err := addVeth(vethPair{near: keeper, far: end, farSpace: l.underlay, mtu: l.config.MTU}); err != nil {
		return err
	}
	return errors.Join(silence(keeper), silence(end), linkUp(end), setMaster(keeper, bridge))
}

// addGateway makes the segment of host n's own network, with the router's address in it.
func (l *Lab) addGateway(n int, bridge string) error {
	if err := l.addSegment(bridge, n); err != nil {
		return err
	}
	p := l.config.planHost(n)
	if err := addAddr(bridge, netip.PrefixFrom(p.gateway4, p.addr4.Bits())); err != nil {
		return err
	}
	if !hasIPv6() {
		return nil
	}
	return addAddr(bridge, netip.PrefixFrom(p.gateway6, p.addr6.Bits()))
}

// joinDirect plugs the two hosts of a Direct lab into each other.
func (l *Lab) joinDirect() error {
	one, two := l.hosts[0], l.hosts[1]
	one.Uplink = &Link{lab: l, host: one.Namespace, far: two.Namespace, port: hostDevice, mtu: l.config.MTU}
	two.Uplink = &Link{lab: l, host: two.Namespace, far: one.Namespace, port: hostDevice, mtu: l.config.MTU}
	// address brings the other end up, and the kernel's carrier follows.
	return one.Do(func() error {
		return addVeth(vethPair{near: hostDevice, far: hostDevice, farSpace: two.Namespace, mtu: l.config.MTU})
	})
}

// address brings the host's eth0 up with its addresses and, in a Routed lab, its default routes.
func (l *Lab) address(h *Host) error {
	p := l.config.planHost(h.Number)
	return h.Do(func() error {
		if err := linkUp(hostDevice); err != nil {
			return err
		}
		if err := h.addAddr(&h.Addr, p.addr4, p.gateway4); err != nil {
			return err
		}
		if !hasIPv6() {
			return nil
		}
		return h.addAddr(&h.Addr6, p.addr6, p.gateway6)
	})
}

// addAddr adds one family's address, and its default route where there is a router.
func (h *Host) addAddr(to *netip.Addr, addr netip.Prefix, gateway netip.Addr) error {
	if err := addAddr(hostDevice, addr); err != nil {
		return err
	}
	*to = addr.Addr()
	if !gateway.IsValid() {
		return nil
	}
	return addDefaultRoute(gateway)
}
