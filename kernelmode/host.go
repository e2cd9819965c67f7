package kernelmode

import (
	"fmt"
	"net/netip"
	"slices"

	"weft/lease"
)

// A Host is one host's view of the network, and all that its kernel datapath is planned from: a value.
type Host struct {
	Config   lease.Config
	Underlay Underlay
	Own      lease.Lease
	Snapshot *lease.Snapshot // the peers, and the own lease among them; nil: none known yet

	// MAC and MAC6 are the VTEP addresses that the own lease advertises, of the IPv4 and the IPv6
	// device. Only VXLANPlan reads them. DeviceMAC finds those of devices that stand already.
	MAC, MAC6 MAC

	// Beside is the userspace datapath that runs at the same time; nil: none. Its TUN gets the route of
	// the whole network, so that every peer which has no more specific one through the kernel is
	// reached in userspace: hosts of another backend type in a network that migrates, and hosts with
	// a port of their own.
	Beside *Userspace

	// Leave says which peers are left to the datapath beside this one although the kernel could reach
	// them; nil: none.
	Leave func(lease.Lease) bool

	// Forwarding asks for the sysctls that let the host route between its containers and its peers.
	Forwarding bool

	// Leftovers are devices of other datapaths of this host, or of an earlier network config: they are
	// removed once everything wanted is there.
	Leftovers []string
}

// A side is one family of a Host.
type side struct {
	network, subnet netip.Prefix
	local           netip.Addr // the underlay's own address
	public          netip.Addr // what the lease advertises
	mac             MAC
	metric          uint32 // of routes: the kernel's default
	name            string // of the family, for messages
}

func (s side) is6() bool { return s.network.Addr().Is6() }

// base is the subnet's first address, which names the host inside the fabric.
func (s side) base() netip.Prefix {
	a := s.subnet.Masked().Addr()
	return netip.PrefixFrom(a, a.BitLen())
}

// sides returns the families that the network has, checked: what is missing or contradictory is an
// error with its remedy.
func (h Host) sides() ([]side, error) {
	var all []side
	if h.Config.EnableIPv4 {
		all = append(all, side{
			network: h.Config.Network.Masked(), subnet: h.Own.Subnet,
			local: h.Underlay.IPv4, public: h.Underlay.PublicIP, mac: h.MAC, name: "IPv4",
		})
	}
	if h.Config.EnableIPv6 {
		all = append(all, side{
			network: h.Config.IPv6Network.Masked(), subnet: h.Own.Subnet6,
			local: h.Underlay.IPv6, public: h.Underlay.PublicIPv6, mac: h.MAC6, metric: DefaultMetric6, name: "IPv6",
		})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("planning the %s datapath: no network in either family: set Network or IPv6Network in the network config", h.Config.BackendType)
	}
	for _, s := range all {
		if why := s.fault(h.Underlay); why != "" {
			return nil, fmt.Errorf("planning the %s datapath for %s: %s", h.Config.BackendType, s.name, why)
		}
	}
	return all, nil
}

// fault says what is wrong with the family's part; "" if nothing is.
func (s side) fault(u Underlay) string {
	switch {
	case !s.subnet.IsValid():
		return fmt.Sprintf("the lease has no subnet of network %s: it is from before the network config changed; lease again", s.network)
	case !s.network.Contains(s.subnet.Addr()) || s.subnet.Bits() < s.network.Bits():
		return fmt.Sprintf("subnet %s is not inside network %s: the lease belongs to another network config", s.subnet, s.network)
	case !s.local.IsValid():
		return fmt.Sprintf("the underlay %s has no %s address, which peers would send to: choose another with --iface", u.Name, s.name)
	}
	return ""
}

// state returns what all kernel datapaths have in common: whose networks these are, and forwarding.
func (h Host) state(sides []side) State {
	s := State{Owns: Ownership{Devices: slices.Clone(h.Leftovers)}}
	if h.Snapshot != nil {
		s.Revision = h.Snapshot.Revision
	}
	for _, f := range sides {
		s.Owns.Networks = append(s.Owns.Networks, f.network)
	}
	if h.Forwarding {
		s.Sysctls = ForwardingSysctls(h.Config.EnableIPv4, h.Config.EnableIPv6)
	}
	return s
}

// beside adds the userspace datapath to a finished plan. It is not in the list of leftovers then.
func (h Host) beside(s State) (State, error) {
	if h.Beside == nil {
		return s, nil
	}
	other, err := UserspacePlan(*h.Beside)
	return s.And(other), err
}

// underlayMTU is the largest outer packet: the interface's, or less by the network config.
func (h Host) underlayMTU() int {
	if configured := h.Config.Options.MTU; configured != 0 {
		return min(configured, h.Underlay.MTU)
	}
	return h.Underlay.MTU
}

// innerMTU checks the MTU that is left for inner packets of a family.
func (h Host) innerMTU(f side, overhead int) (int, error) {
	mtu, least := h.underlayMTU()-overhead, minMTU4
	if f.is6() {
		least = minMTU6
	}
	if mtu < least {
		return 0, fmt.Errorf("planning the %s datapath for %s: MTU %d of the underlay %s leaves %d after %d bytes of headers, and %d is the least: raise it",
			h.Config.BackendType, f.name, h.underlayMTU(), h.Underlay.Name, mtu, overhead, least)
	}
	return mtu, nil
}
