package lease

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// An Entry is one record of a store, decoded once: what [Assemble] makes snapshots of. The store
// sets Created, and adds expiry, revision and token to Lease.
type Entry struct {
	Key     string // the whole key, to name it in a Problem
	Created int64  // store revision of its creation; it orders records by age

	Named Subnets // what the key names, even where the value is broken
	Lease Lease   // what key and value say; the zero value beside a Fault
	Fault *Fault  // why the record couldn't be decoded
}

// Decode reads one record: its whole key, the last part of that, and its value.
func Decode(key, name string, value []byte) Entry {
	e := Entry{Key: key}
	var err error
	if e.Named, err = ParseKey(name); err != nil {
		e.Fault = fault(BadKey, "%v: delete the record", err)
		return e
	}
	attrs, err := DecodeValue(value)
	if err != nil {
		if !errors.As(err, &e.Fault) {
			e.Fault = fault(BadJSON, "%v: delete the record", err)
		}
		return e
	}
	e.Lease = Lease{Subnet: e.Named.V4, Subnet6: e.Named.V6, Attrs: attrs}
	return e
}

// Assemble makes the snapshot of all entries at a revision. Every rule about a record is here: what
// breaks one is left out and named in Problems, and hurts no other. Of two records that exclude
// each other the older one stays, so that nobody can take a subnet by claiming it again.
//
// entries are not changed. Without a config (cfgErr set) ranges can't be checked, and aren't.
func Assemble(revision int64, cfg Config, cfgErr error, entries []Entry) *Snapshot {
	j := newJudge(cfg, cfgErr, len(entries))
	return j.all(revision, cfg, cfgErr, entries)
}

// all judges every record, oldest first.
func (j *judge) all(revision int64, cfg Config, cfgErr error, entries []Entry) *Snapshot {
	s := &Snapshot{Revision: revision, Config: cfg, ConfigErr: cfgErr}
	order := make([]*Entry, len(entries))
	for i := range entries {
		order[i] = &entries[i]
	}
	slices.SortFunc(order, byAge)
	s.Leases = make([]Lease, 0, len(entries))
	for _, e := range order {
		l, f := j.admit(e)
		if e.aside(l, f) {
			s.Aside = append(s.Aside, *e)
		}
		if f != nil {
			s.Problems = append(s.Problems, f.problem(e))
			continue
		}
		s.Leases = append(s.Leases, l)
	}
	slices.SortFunc(s.Leases, bySubnet)
	slices.SortFunc(s.Problems, byKey)
	return s
}

// aside reports whether judging took something from a record that can be read: see [Snapshot].Aside.
func (e *Entry) aside(l Lease, f *Fault) bool {
	return e.Fault == nil && (f != nil || l.Subnets() != e.Lease.Subnets())
}

// problem is what a snapshot says of a record with this fault.
func (f *Fault) problem(e *Entry) Problem {
	return Problem{Key: e.Key, Reason: f.Reason, Detail: f.Detail, Token: e.Lease.Token}
}

func byKey(a, b Problem) int { return cmp.Compare(a.Key, b.Key) }

func bySubnet(a, b Lease) int {
	return cmp.Or(a.Subnet.Compare(b.Subnet), a.Subnet6.Compare(b.Subnet6))
}

// An address is what no two hosts share: an outer address with its port.
type address struct {
	ip   netip.Addr
	port int
}

// A judge admits records one by one, oldest first.
type judge struct {
	cfg        Config
	haveConfig bool
	taken      bart.Lite
	owners     map[address]string // outer address to the key that has it
}

func newJudge(cfg Config, cfgErr error, records int) judge {
	return judge{cfg: cfg, haveConfig: cfgErr == nil, owners: make(map[address]string, records)}
}

// routed is the lease with the families that the network has.
func (j *judge) routed(l Lease) Lease {
	// A dual-stack key in a single-stack network: the other family isn't routed here.
	if j.haveConfig && !j.cfg.EnableIPv4 {
		l.Subnet = netip.Prefix{}
	}
	if j.haveConfig && !j.cfg.EnableIPv6 {
		l.Subnet6 = netip.Prefix{}
	}
	return l
}

// forget is the opposite of admit, for a lease as that returned it.
func (j *judge) forget(l Lease) {
	for _, a := range l.Attrs.addresses(j.cfg.Options.Port) {
		delete(j.owners, a)
	}
	for _, p := range []netip.Prefix{l.Subnet, l.Subnet6} {
		if p.IsValid() {
			j.taken.Delete(p)
		}
	}
}

// admit returns the lease as it counts in this network, or why it doesn't.
func (j *judge) admit(e *Entry) (Lease, *Fault) {
	if e.Fault != nil {
		return Lease{}, e.Fault
	}
	l := j.routed(e.Lease)
	if j.haveConfig {
		if f := inRange(j.cfg, l); f != nil {
			return Lease{}, f
		}
	}
	if f := checkPublic(j.cfg, l.Attrs); f != nil {
		return Lease{}, f
	}
	for _, p := range []netip.Prefix{l.Subnet, l.Subnet6} {
		if p.IsValid() && j.taken.OverlapsPrefix(p) {
			return Lease{}, fault(Overlap, "%s belongs to an older lease: delete this record", p)
		}
	}
	addresses := l.Attrs.addresses(j.cfg.Options.Port)
	for _, a := range addresses {
		if other, twice := j.owners[a]; twice {
			return Lease{}, fault(DuplicatePublicIP,
				"%s is the address of the older lease %s: delete one of the two", a.ip, other)
		}
	}
	for _, a := range addresses {
		j.owners[a] = e.Key
	}
	for _, p := range []netip.Prefix{l.Subnet, l.Subnet6} {
		if p.IsValid() {
			j.taken.Insert(p)
		}
	}
	return l, nil
}

func (a Attrs) addresses(port int) []address {
	port = a.port(port)
	both := make([]address, 0, 2)
	for _, ip := range []netip.Addr{a.PublicIP, a.PublicIPv6} {
		if ip.IsValid() {
			both = append(both, address{ip, port})
		}
	}
	return both
}

// inRange checks the subnets that are left after the network's families have been applied.
func inRange(cfg Config, l Lease) *Fault {
	if !l.Subnet.IsValid() && !l.Subnet6.IsValid() {
		return fault(OutOfRange, "the network doesn't have this address family: delete the record")
	}
	for _, p := range []netip.Prefix{l.Subnet, l.Subnet6} {
		if p.IsValid() && !cfg.Contains(p) {
			return fault(OutOfRange, "%s is not a host's subnet of the network: delete the record", p)
		}
	}
	return nil
}

// checkPublic refuses outer addresses that no peer can have: sending there would loop, or flood.
func checkPublic(cfg Config, a Attrs) *Fault {
	if !a.PublicIP.IsValid() && !a.PublicIPv6.IsValid() {
		return fault(BadPublicIP, "the record names no address: delete it")
	}
	for _, ip := range []netip.Addr{a.PublicIP, a.PublicIPv6} {
		switch {
		case !ip.IsValid():
		case ip.IsLoopback(), ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			return fault(BadPublicIP, "%s is not the address of a host: delete the record", ip)
		case cfg.Network.Contains(ip), cfg.IPv6Network.Contains(ip):
			return fault(BadPublicIP, "%s is inside the network itself, so that packets to it "+
				"would loop: delete the record", ip)
		}
	}
	return nil
}
