package lease

import (
	"cmp"
	"net/netip"
	"slices"
)

// Reasons why a reservation is refused, beside those of a [Problem].
const (
	BadFamily = "bad_family" // an address family that the network lacks, or one of its own missing
	OffBorder = "off_border" // not a subnet as the config cuts them
	Leased    = "leased"     // a host has it, or the host has another one; Force overrides that
)

// A Reservation is an operator's wish: this host is to have these subnets, whether it runs or not.
type Reservation struct {
	Subnets Subnets
	Attrs   Attrs // PublicIP, PublicIPv6 or both; the host adds the rest when it comes

	// Force takes the subnets from the host that leases them now, and from the host that they are
	// for whatever else it leases. Other reservations are never overridden.
	Force bool
}

// A ReservationPlan is what a reservation changes in the store.
type ReservationPlan struct {
	// Keep is the key of the host's own record of these subnets. It stays as it is and only stops
	// expiring. Empty: a record is made.
	Keep string
	// Done: there is nothing to do, the subnets are reserved for the host already.
	Done bool
	// Replace is the leases that end with it, at most 16; only ever filled with Force.
	Replace []Entry
}

// PlanReservation decides what r changes, given all records of the network. A refusal is a [*Fault]
// whose detail says what is in the way and what to do. What every host would skip, or what would
// leave two owners of one subnet, is never planned.
func (c Config) PlanReservation(r Reservation, entries []Entry) (ReservationPlan, error) {
	if f := c.checkReserved(r.Subnets); f != nil {
		return ReservationPlan{}, f
	}
	if f := c.checkOuter(r.Attrs); f != nil {
		return ReservationPlan{}, f
	}
	var p ReservationPlan
	order := slices.Clone(entries)
	slices.SortFunc(order, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.Key, b.Key))
	})
	for _, e := range order {
		if f := p.consider(c, r, e); f != nil {
			return ReservationPlan{}, f
		}
	}
	if len(p.Replace) > mostReplaced {
		return ReservationPlan{}, fault(Leased, "%d leases are in the way, more than one change may end: "+
			"release some of them first", len(p.Replace))
	}
	if p.Keep != "" {
		return p, nil
	}
	return p, p.prove(c, r, entries)
}

// consider takes one record into account: it is kept, replaced, of no concern, or refuses the plan.
func (p *ReservationPlan) consider(c Config, r Reservation, e Entry) *Fault {
	overlaps := c.claims(e.Named, r.Subnets)
	same := e.Fault == nil && SameHost(e.Lease.Attrs, r.Attrs, c.Options.Port)
	has := e.Lease.Attrs.host()
	switch {
	case !overlaps && !same:
		return nil
	case e.Fault != nil:
		return fault(Overlap, "the broken record %s (%s) is in the way: release it by its key first",
			e.Key, e.Fault.Reason)
	case same && e.Named == r.Subnets:
		p.Keep, p.Done = e.Key, e.Lease.Reserved
		return nil
	case same && e.Lease.Reserved:
		return fault(DuplicatePublicIP, "%s has the reservation %s already: release that first, since "+
			"a host has one lease", has, e.Named.CIDR())
	case e.Lease.Reserved:
		return fault(Overlap, "%s is reserved for %s: release that first", e.Named.CIDR(), has)
	case r.Force:
		p.Replace = append(p.Replace, e)
		return nil
	case same:
		return fault(Leased, "%s leases %s now: reserve that for it, or move it by force", has, e.Named.CIDR())
	}
	return fault(Leased, "%s is leased by %s: choose a free subnet, or take it from that host by force",
		e.Named.CIDR(), has)
}

// claims reports whether the key named holds a part of wanted. One that claims more than a host's
// subnet holds nothing, as everywhere.
func (c Config) claims(named, wanted Subnets) bool {
	t := &Taken{}
	t.AddNamed(c, named)
	return t.Overlaps(wanted)
}

// prove makes the record in mind and judges it with all others, as every host will: whatever rule
// there is, a reservation that it would skip isn't written.
func (p *ReservationPlan) prove(c Config, r Reservation, entries []Entry) error {
	value, err := EncodeValue(r.Attrs)
	if err != nil {
		return err
	}
	name := Key(r.Subnets)
	fresh := Decode(name, name, value)
	fresh.Lease.Token = name
	left := slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool {
		return slices.ContainsFunc(p.Replace, func(gone Entry) bool { return gone.Key == e.Key })
	})
	for _, e := range left {
		fresh.Created = max(fresh.Created, e.Created+1)
	}
	for _, problem := range Assemble(0, c, nil, append(left, fresh)).Problems {
		if problem.Key == name {
			return fault(problem.Reason, "every host would skip the record: %s", problem.Detail)
		}
	}
	return nil
}

// checkReserved refuses subnets that the config would not hand out.
func (c Config) checkReserved(s Subnets) *Fault {
	for _, f := range []struct {
		name, other string
		on          bool
		p           netip.Prefix
		network     netip.Prefix
		span        span
	}{
		{"IPv4", "IPv6", c.EnableIPv4, s.V4, c.Network, c.span4()},
		{"IPv6", "IPv4", c.EnableIPv6, s.V6, c.IPv6Network, c.span6()},
	} {
		switch {
		case f.p.IsValid() && !f.on:
			return fault(BadFamily, "%s is %s, which the network doesn't have: give an %s subnet alone",
				f.p, f.name, f.other)
		case f.on && !f.p.IsValid():
			return fault(BadFamily, "the %s subnet is missing: the network %s gives each host a /%d of its own",
				f.name, f.network, f.span.bits)
		case !f.on:
			continue
		}
		if fault := f.span.check(f.p, f.network); fault != nil {
			return fault
		}
	}
	return nil
}

// check says why p isn't one of the span's subnets.
func (s span) check(p, network netip.Prefix) *Fault {
	cut := netip.PrefixFrom(p.Addr(), s.bits).Masked()
	switch {
	case !network.Contains(p.Addr()):
		return fault(OutOfRange, "%s is not inside the network %s: use a /%d from %s to %s",
			p, network, s.bits, s.first, s.last)
	case p.Bits() != s.bits:
		return fault(OffBorder, "%s is a /%d, and hosts of this network have a /%d: use %s",
			p, p.Bits(), s.bits, cut)
	case p != cut:
		return fault(OffBorder, "%s is not on the border of a /%d subnet: use %s", p, s.bits, cut)
	case p.Addr().Less(s.first):
		return fault(OutOfRange, "%s is before the first subnet, SubnetMin %s: use that or a later one",
			p, s.first)
	case s.last.Less(p.Addr()):
		return fault(OutOfRange, "%s is behind the last subnet, SubnetMax %s: use that or an earlier one",
			p, s.last)
	}
	return nil
}

// checkOuter refuses outer addresses that no host can have.
func (c Config) checkOuter(a Attrs) *Fault {
	if !a.PublicIP.IsValid() && !a.PublicIPv6.IsValid() {
		return fault(BadPublicIP, "the host's public address is missing: give its IPv4 or IPv6 address")
	}
	for _, ip := range []netip.Addr{a.PublicIP, a.PublicIPv6} {
		switch {
		case !ip.IsValid():
		case ip.IsUnspecified(), ip.Zone() != "":
			return fault(BadPublicIP, "%s is not the address of a host: give the one that its peers send to", ip)
		case c.Network.Contains(ip), c.IPv6Network.Contains(ip):
			return fault(BadPublicIP, "%s is inside the network itself: give the host's address outside of it", ip)
		case checkPublic(c, Attrs{PublicIP: ip}) != nil:
			return fault(BadPublicIP, "%s is a loopback, multicast or broadcast address: give the one "+
				"that the host's peers send to", ip)
		}
	}
	return nil
}

// CIDR names the subnets as a person writes them: "10.5.7.0/24", or "10.5.7.0/24 and fd00:5:0:7::/64".
func (s Subnets) CIDR() string {
	switch {
	case !s.V6.IsValid():
		return s.V4.String()
	case !s.V4.IsValid():
		return s.V6.String()
	}
	return s.V4.String() + " and " + s.V6.String()
}

// host names the host, for a person.
func (a Attrs) host() netip.Addr {
	if a.PublicIP.IsValid() {
		return a.PublicIP
	}
	return a.PublicIPv6
}
