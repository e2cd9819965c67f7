package kernelmode

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// A Selection says how to choose the underlay interface: flannel's flags, and what the network config
// needs. The zero values of the flags mean that they weren't given.
type Selection struct {
	Interfaces []string         // --iface: names or addresses, in order
	Regexes    []*regexp.Regexp // --iface-regex, in order
	CanReach   netip.Addr       // --iface-can-reach

	PublicIP, PublicIPv6 netip.Addr // --public-ip, --public-ipv6

	// IPv4 and IPv6 say which families the chosen interface must have an address of.
	IPv4, IPv6 bool

	// Networks are the fabric's own ranges. An interface is never chosen for an address in them, or
	// a pattern could pick the fabric's own device as its underlay.
	Networks []netip.Prefix
}

// An Underlay is the chosen interface: a comparable value.
type Underlay struct {
	Name  string
	Index int
	MTU   int // bytes

	// IPv4 and IPv6 are addresses of the interface; invalid where it has none and none was needed.
	IPv4, IPv6 netip.Addr

	// PublicIP and PublicIPv6 are what the lease advertises: the flag's value if given, which may
	// belong to a NAT in front of this host, else the interface's address.
	PublicIP, PublicIPv6 netip.Addr

	// OnLink are the networks that need no gateway: peers with an address in them can be routed to
	// without encapsulation.
	OnLink Networks
}

// reached is the answer of a route lookup for Selection.CanReach.
type reached struct {
	device string
	err    error
}

// choose decides, given all that there is. It tries each rule in turn, and the first interface that
// has the needed addresses wins; a match without them is passed over and named in the error.
func choose(s Selection, all []Interface, reach reached) (Underlay, error) {
	c := chooser{Selection: s, all: all}
	flags := len(s.Interfaces)+len(s.Regexes) > 0 || s.CanReach.IsValid()
	for _, want := range s.Interfaces {
		if u, ok := c.named(want); ok {
			return u, nil
		}
	}
	for _, re := range s.Regexes {
		if u, ok := c.matching(re); ok {
			return u, nil
		}
	}
	if s.CanReach.IsValid() {
		if u, ok := c.reaching(reach); ok {
			return u, nil
		}
	}
	if !flags {
		if u, ok := c.unflagged(); ok {
			return u, nil
		}
	}
	return Underlay{}, c.failure()
}

// chooser carries what was tried, for the error.
type chooser struct {
	Selection
	all   []Interface
	tried []string
}

func (c *chooser) named(want string) (Underlay, bool) {
	rule := "--iface " + want
	ip, err := netip.ParseAddr(want)
	if err != nil {
		i := slices.IndexFunc(c.all, func(i Interface) bool { return i.Name == want })
		if i < 0 {
			return c.miss(rule, "no interface has that name")
		}
		return c.take(rule, c.all[i], netip.Addr{})
	}
	i := slices.IndexFunc(c.all, func(i Interface) bool { return i.holds(ip.Unmap()) })
	if i < 0 {
		return c.miss(rule, "no interface has that address")
	}
	return c.take(rule, c.all[i], ip.Unmap())
}

// matching looks at every interface's addresses first, and only then at names: 10\.0 should find an
// address rather than an interface that happens to be called so.
func (c *chooser) matching(re *regexp.Regexp) (Underlay, bool) {
	rule := "--iface-regex " + re.String()
	before := len(c.tried)
	for _, i := range c.all {
		for _, a := range i.Addresses {
			ip := a.Prefix.Addr()
			if !re.MatchString(ip.String()) || !a.usable() || c.internal(ip) || !c.needs(ip) {
				continue
			}
			if u, ok := c.take(rule, i, ip); ok {
				return u, true
			}
		}
	}
	for _, i := range c.all {
		if !re.MatchString(i.Name) {
			continue
		}
		if u, ok := c.take(rule, i, netip.Addr{}); ok {
			return u, true
		}
	}
	if len(c.tried) == before {
		return c.miss(rule, "matches no usable address and no name")
	}
	return Underlay{}, false
}

func (c *chooser) reaching(reach reached) (Underlay, bool) {
	rule := "--iface-can-reach " + c.CanReach.String()
	if reach.err != nil {
		return c.miss(rule, reach.err.Error())
	}
	i := slices.IndexFunc(c.all, func(i Interface) bool { return i.Name == reach.device })
	if i < 0 {
		return c.miss(rule, "the route leads out of "+reach.device+", which is gone")
	}
	return c.take(rule, c.all[i], netip.Addr{})
}

// unflagged takes the interface that holds the public address, else the default route's. A public
// address that no interface holds is a NAT's, and no reason to fail.
func (c *chooser) unflagged() (Underlay, bool) {
	for _, ip := range []netip.Addr{c.PublicIP, c.PublicIPv6} {
		if !ip.IsValid() {
			continue
		}
		rule := "--public-ip " + ip.String()
		if ip.Is6() {
			rule = "--public-ipv6 " + ip.String()
		}
		i := slices.IndexFunc(c.all, func(i Interface) bool { return i.holds(ip) })
		if i < 0 {
			c.miss(rule, "no interface has that address")
			continue
		}
		if u, ok := c.take(rule, c.all[i], ip); ok {
			return u, true
		}
	}
	i := c.defaultRoute()
	if i < 0 {
		return c.miss("the default route", "there is none")
	}
	return c.take("the default route", c.all[i], netip.Addr{})
}

// defaultRoute returns the position of the interface with the best default route of a needed family,
// IPv4's before IPv6's; -1 if there is none.
func (c *chooser) defaultRoute() int {
	for _, v6 := range []bool{false, true} {
		if v6 && !c.IPv6 || !v6 && !c.IPv4 {
			continue
		}
		best := -1
		for n, i := range c.all {
			route := i.Default4
			if v6 {
				route = i.Default6
			}
			if route.Present && (best < 0 || route.Metric < c.metric(best, v6)) {
				best = n
			}
		}
		if best >= 0 {
			return best
		}
	}
	return -1
}

func (c *chooser) metric(n int, v6 bool) uint32 {
	if v6 {
		return c.all[n].Default6.Metric
	}
	return c.all[n].Default4.Metric
}

// take makes the Underlay if the interface is up and has what is needed. Where the rule itself named
// an address, that one is used.
func (c *chooser) take(rule string, i Interface, exact netip.Addr) (Underlay, bool) {
	u := Underlay{Name: i.Name, Index: i.Index, MTU: i.MTU, IPv4: i.best(false), IPv6: i.best(true), OnLink: NetworksOf(i.OnLink...)}
	switch {
	case exact.Is4():
		u.IPv4 = exact
	case exact.Is6():
		u.IPv6 = exact
	}
	switch {
	case !i.Up:
		return c.miss(rule, i.Name+" is down")
	case c.internal(u.IPv4) || c.internal(u.IPv6):
		return c.miss(rule, i.Name+" belongs to the fabric itself")
	case c.IPv4 && !u.IPv4.IsValid():
		return c.miss(rule, i.Name+" has no usable IPv4 address")
	case c.IPv6 && !u.IPv6.IsValid():
		return c.miss(rule, i.Name+" has no usable IPv6 address")
	}
	u.PublicIP, u.PublicIPv6 = u.IPv4, u.IPv6
	if c.PublicIP.IsValid() {
		u.PublicIP = c.PublicIP
	}
	if c.PublicIPv6.IsValid() {
		u.PublicIPv6 = c.PublicIPv6
	}
	return u, true
}

func (c *chooser) needs(ip netip.Addr) bool { return ip.Is4() && c.IPv4 || ip.Is6() && c.IPv6 }

func (c *chooser) internal(ip netip.Addr) bool {
	return ip.IsValid() && slices.ContainsFunc(c.Networks, func(n netip.Prefix) bool { return n.Contains(ip) })
}

func (c *chooser) miss(rule, why string) (Underlay, bool) {
	c.tried = append(c.tried, rule+": "+why)
	return Underlay{}, false
}

// failure lists what was tried and what there is, so that the remedy can be read off it.
func (c *chooser) failure() error {
	exist := make([]string, len(c.all))
	for n, i := range c.all {
		exist[n] = i.String()
	}
	return fmt.Errorf("choosing the underlay interface: none fits; tried %s; there are %s; name one with --iface",
		strings.Join(c.tried, "; "), strings.Join(exist, ", "))
}
