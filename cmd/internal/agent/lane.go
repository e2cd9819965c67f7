package agent

import (
	"slices"

	"weft/cmd/internal/probe"
	"weft/kernelmode"
	"weft/kernelmode/express"
	"weft/routes"
	"weft/tunnel"
	"weft/tunnel/ethtool"
)

// A lane is the express lane in front of a userPath: express.Lane's methods.
type lane interface {
	Publish([]express.Route) error
	Check() error
	Counters() (express.Counters, error)
	Pinned() error
	Close(detach bool) error
}

// lanes is where lanes come from, and who takes away what agents before have left of theirs.
type lanes interface {
	Open(express.Config) (lane, error)
	Left(device string) bool            // there are pins
	Detach(device string) error         // the device stays
	Remove(device string) error         // it goes too
	Keep(q tunnel.Queue, on bool) error // whether the queue's device outlives whoever holds it
}

// kernelLanes are those of the network namespace that the agent is in.
type kernelLanes struct{}

func (kernelLanes) Open(c express.Config) (lane, error) {
	c.Features = ethtool.Features
	l, err := express.Open(c)
	if err != nil {
		return nil, err // and not a lane that is a nil pointer
	}
	return l, nil
}

func (kernelLanes) Left(device string) bool            { return express.Left("", device) }
func (kernelLanes) Detach(device string) error         { return express.Detach("", device) }
func (kernelLanes) Remove(device string) error         { return express.Remove("", device) }
func (kernelLanes) Keep(q tunnel.Queue, on bool) error { return persist(q, on) }

// feature tries what kernelmode tries, and whether the lane is allowed.
func feature(of func(kernelmode.Feature) kernelmode.Capability) func(kernelmode.Feature) kernelmode.Capability {
	return func(f kernelmode.Feature) kernelmode.Capability {
		if f == probe.FeatureLane {
			return probe.LaneAllowed()
		}
		return of(f)
	}
}

// laneConfig is the lane that fits the device and the sockets that are open. A format whose port another program has
// isn't the lane's either: it would take that program's packets.
func (u *userPath) laneConfig() express.Config {
	f := u.fabric
	c := express.Config{
		Device: u.options.TUNName, Underlay: f.underlay.Name, MTU: f.mtu(),
		Network: f.config.Network, SubnetLen: f.config.SubnetLen, Local: f.layout().Local,
		VNI: uint32(f.vni()), MAC4: f.vtep.mac, MAC6: f.vtep.mac6,
	}
	for _, local := range f.local() {
		if local.Is4() {
			c.Outer4 = local
		} else {
			c.Outer6 = local
		}
	}
	for kind, wanted := range u.formats.byName() {
		port, _ := f.receives(kind, u.options)
		bound := slices.ContainsFunc(u.sockets, func(s sockets) bool { return s.kind == kind && s.port == port })
		switch {
		case !wanted || !bound:
		case kind == typeUDP:
			c.UDPPort = port
		case kind == typeVXLAN:
			c.VXLANPort = port
		case kind == typeIPIP:
			c.IPIP = true
		}
	}
	return c
}

// laneRoutes are the forwarder's routes as the lane has them.
func (u *userPath) laneRoutes() []express.Route {
	table := u.live.Load()
	all := make([]express.Route, 0, table.Size())
	for subnet, hop := range table.All() {
		r := express.Route{
			Subnet: subnet, Outer: hop.Outer, Encapsulation: express.EncapUDP, VNI: hop.VNI, MAC: hop.VTEPMAC, ZeroSums: hop.ZeroSums,
			Forwarder: hop.Echoes, // nobody but a forwarder answers those
			MTU:       u.fabric.limit(kindOf(hop.Encapsulation), hop.Outer.Addr()),
		}
		switch hop.Encapsulation {
		case routes.EncapVXLAN:
			r.Encapsulation = express.EncapVXLAN
			// Superpackets that the lane leaves are for a forwarder there, which the one here can't see for itself:
			// what the peer sends comes by the lane.
			hop.FromSocket.Store(true)
		case routes.EncapIPIP:
			r.Encapsulation = express.EncapIPIP
		}
		all = append(all, r)
	}
	return all
}

// kindOf is the backend type whose format an encapsulation is.
func kindOf(e routes.Encapsulation) string {
	switch e {
	case routes.EncapVXLAN:
		return typeVXLAN
	case routes.EncapIPIP:
		return typeIPIP
	default:
		return typeUDP
	}
}
