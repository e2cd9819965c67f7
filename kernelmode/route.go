package kernelmode

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// RouteProtocol labels weft's routes (rtm_protocol; `ip route show proto 87`). 87 is the letter W; it
// is free in iproute2's rt_protos and in FRR's, and above RTPROT_STATIC, so no kernel code gives it a
// meaning.
const RouteProtocol uint8 = 87

// Protocols of other routes that mean something here (include/uapi/linux/rtnetlink.h).
const (
	ProtocolKernel uint8 = 2 // installed by the kernel itself, along with an address
	ProtocolBoot   uint8 = 3 // what `ip route add` and flannel leave

	protocolStatic uint8 = 4 // what network configuration programs leave
)

// RouteScope is how far a destination is away (rtm_scope). IPv6 has only ScopeGlobal.
type RouteScope uint8

// The scopes weft uses.
const (
	ScopeGlobal RouteScope = 0   // RT_SCOPE_UNIVERSE
	ScopeLink   RouteScope = 253 // RT_SCOPE_LINK
)

// RouteKind is what a route does with packets (rtm_type).
type RouteKind uint8

// The kinds weft uses.
const (
	Unicast   RouteKind = 0
	Blackhole RouteKind = 6 // RTN_BLACKHOLE
)

// DefaultMetric6 is the metric the kernel gives to an IPv6 route that asks for none (IP6_RT_PRIO_USER).
// Planned IPv6 routes name it, so that they compare equal to what comes back.
const DefaultMetric6 = 1024

// A Route is one route of the main table, with one next hop.
type Route struct {
	Dst    netip.Prefix // masked
	Via    netip.Addr   // gateway; invalid: the destination is on the link
	Dev    string       // empty for Blackhole, and for what was found with several next hops
	Src    netip.Addr   // preferred source; invalid: the kernel picks one
	Metric uint32
	MTU    uint32 // bytes; 0: the device's
	Scope  RouteScope
	Kind   RouteKind
	Onlink bool // Via is on the link although no address of the device says so

	// Protocol is the label: RouteProtocol in everything planned here.
	Protocol uint8
}

type routeKey struct {
	dst    netip.Prefix
	metric uint32
}

// Key is destination and metric: of two routes that share both, IPv4 uses the first only, and IPv6
// would balance between them.
func (r Route) Key() any { return routeKey{r.Dst, r.Metric} }

// Device is the device that the route leads out of.
func (r Route) Device() string { return r.Dev }

// String renders the route as `ip route` does; weft's label is a number there.
func (r Route) String() string {
	var b strings.Builder
	if r.Kind == Blackhole {
		b.WriteString("blackhole ")
	}
	b.WriteString(r.Dst.String())
	if r.Via.IsValid() {
		fmt.Fprintf(&b, " via %s", r.Via)
	}
	if r.Dev != "" {
		fmt.Fprintf(&b, " dev %s", r.Dev)
	}
	if r.Protocol != ProtocolBoot { // as `ip` leaves it out
		fmt.Fprintf(&b, " proto %s", protocolName(r.Protocol))
	}
	if r.Scope == ScopeLink {
		b.WriteString(" scope link")
	}
	if r.Src.IsValid() {
		fmt.Fprintf(&b, " src %s", r.Src)
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	if r.MTU != 0 {
		fmt.Fprintf(&b, " mtu %d", r.MTU)
	}
	if r.Onlink {
		b.WriteString(" onlink")
	}
	return b.String()
}

func protocolName(p uint8) string {
	if p == ProtocolKernel {
		return "kernel"
	}
	return strconv.Itoa(int(p))
}
