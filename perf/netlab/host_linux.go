package netlab

import (
	"errors"
	"fmt"
	"net/netip"
)

// containerBridge is the bridge on every host that its containers hang on, as docker0 or cni0 would be.
const containerBridge = "cbr0"

// hostDevice is the underlay device of every host, and the only device of every container.
const hostDevice = "eth0"

// A Host is a machine of the lab: a namespace with one underlay device, eth0.
type Host struct {
	*Namespace
	Number int        // counted from 1
	Addr   netip.Addr // on the underlay
	Addr6  netip.Addr // invalid where the kernel has no IPv6
	Uplink *Link      // from eth0 to the underlay

	lab        *Lab
	containers []*Container
}

// A Container is a namespace behind a host's bridge.
type Container struct {
	*Namespace
	Host  *Host
	Addr  netip.Addr // invalid without an IPv4 subnet
	Addr6 netip.Addr // invalid without an IPv6 subnet
}

// Device is the name of the host's underlay device.
func (h *Host) Device() string { return hostDevice }

// Containers are those added so far, in order.
func (h *Host) Containers() []*Container {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	return append([]*Container(nil), h.containers...)
}

// AddContainer adds a container to the host's bridge, as Docker does when told the leased subnets: the
// bridge holds the first address of each subnet and is the container's default gateway, the
// container takes the next free one. There may be one subnet of each family, each with room for
// three hosts, the same for every container of this host. mtu is the container's and should be the
// fabric's (FLANNEL_MTU). The name is unique in the lab: 1 to 12 lower-case letters and digits.
func (h *Host) AddContainer(name string, mtu int, subnets ...netip.Prefix) (*Container, error) {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	if !nodeName.MatchString(name) {
		return nil, fmt.Errorf("container name %q: use a letter and up to 11 letters or digits, all lower case", name)
	}
	addrs, err := planContainer(len(h.containers), subnets)
	if err != nil {
		return nil, fmt.Errorf("adding container %s: %w", name, err)
	}
	// The bridge comes with the first container: before, nobody knew the subnet.
	if len(h.containers) == 0 {
		if err := h.addBridge(mtu, addrs); err != nil {
			return nil, fmt.Errorf("adding container %s: %w", name, err)
		}
	}
	space, err := h.lab.addNamespace(name)
	if err != nil {
		return nil, err
	}
	c := &Container{Namespace: space, Host: h}
	if err := h.plug(name, mtu, space); err != nil {
		return nil, fmt.Errorf("plugging container %s in: %w", name, err)
	}
	if err := c.setAddrs(addrs); err != nil {
		return nil, fmt.Errorf("addressing container %s: %w", name, err)
	}
	if err := h.Do(func() error { return awaitCarrier(name, containerBridge) }); err != nil {
		return nil, fmt.Errorf("waiting for container %s: %w", name, err)
	}
	h.containers = append(h.containers, c)
	return c, nil
}

// containerAddr is one family's address of a container and of its gateway, the host's bridge.
type containerAddr struct {
	own, gateway netip.Prefix
}

// planContainer numbers container i, counted from 0, in each subnet.
func planContainer(i int, subnets []netip.Prefix) ([]containerAddr, error) {
	if len(subnets) == 0 {
		return nil, errors.New("no subnet: pass the host's lease")
	}
	if len(subnets) > 2 || len(subnets) == 2 && subnets[0].Addr().Is4() == subnets[1].Addr().Is4() {
		return nil, fmt.Errorf("subnets %v: pass one of each family at most", subnets)
	}
	plans := make([]containerAddr, len(subnets))
	for k, s := range subnets {
		// base + 1 is what subnet.env names and Docker's --bip takes; containers count on from there.
		gateway := s.Masked().Addr().Next()
		own := gateway
		for range i + 1 {
			own = own.Next()
		}
		// Its successor must be inside too: the last IPv4 address is the broadcast address.
		if !s.Contains(own) || !s.Contains(own.Next()) {
			return nil, fmt.Errorf("subnet %s has no room for container number %d", s, i+1)
		}
		plans[k] = containerAddr{netip.PrefixFrom(own, s.Bits()), netip.PrefixFrom(gateway, s.Bits())}
	}
	return plans, nil
}

// addBridge makes the host a router for its containers: forwarding is on already.
func (h *Host) addBridge(mtu int, addrs []containerAddr) error {
	return h.Do(func() error {
		if err := addBridge(containerBridge, mtu); err != nil {
			return err
		}
		for _, a := range addrs {
			if err := addAddr(containerBridge, a.gateway); err != nil {
				return err
			}
		}
		return nil
	})
}

// plug connects the container to the bridge. The host's end has the container's name.
func (h *Host) plug(name string, mtu int, space *Namespace) error {
	return h.Do(func() error {
		if err := addVeth(vethPair{near: name, far: hostDevice, farSpace: space, mtu: mtu}); err != nil {
			return err
		}
		return setMaster(name, containerBridge)
	})
}

// setAddrs gives the container its address and its default route, per family.
func (c *Container) setAddrs(addrs []containerAddr) error {
	return c.Do(func() error {
		if err := linkUp(hostDevice); err != nil {
			return err
		}
		if err := awaitCarrier(hostDevice); err != nil {
			return err
		}
		for _, a := range addrs {
			if err := addAddr(hostDevice, a.own); err != nil {
				return err
			}
			if err := addDefaultRoute(a.gateway.Addr()); err != nil {
				return err
			}
			if a.own.Addr().Is4() {
				c.Addr = a.own.Addr()
			} else {
				c.Addr6 = a.own.Addr()
			}
		}
		return nil
	})
}
