package lease

import (
	"cmp"
	"iter"
	"slices"
)

// mostReplaced keeps a store's transaction small, whatever junk there is (etcd takes 128
// operations); what is left over waits for its expiry.
const mostReplaced = 16

// A Plan is what a host does to get a lease: keep a record that it has, or make a new one.
type Plan struct {
	Keep    string   // key of the record to go on with; empty: make one of Candidates
	Replace []string // keys to delete together with the making of it

	config   Config
	previous Subnets
	taken    *Taken
}

// PlanFor decides for the host that r describes, given all records of the network.
//
// A record with the host's public address is kept if it counts and is a reservation, which an
// operator put where it is, or what the config would hand out today. The host's other leases are
// replaced; reservations are never deleted.
func (c Config) PlanFor(r Request, entries []Entry) Plan {
	p := Plan{config: c, previous: r.Subnets(), taken: &Taken{}}
	var own []Entry
	for i := range entries {
		if e := &entries[i]; e.Fault == nil && SameHost(e.Lease.Attrs, r.Attrs, c.Options.Port) {
			own = append(own, *e)
		}
	}
	counts := map[string]bool{}
	if len(own) > 0 { // a host that is new here needs no judgement of thousands
		for _, l := range Assemble(0, c, nil, entries).Leases {
			counts[l.Token] = true
		}
	}
	slices.SortFunc(own, func(a, b Entry) int { return cmp.Compare(a.Created, b.Created) })
	for _, e := range own {
		l := e.Lease
		switch {
		case counts[l.Token] && p.Keep == "" && (l.Reserved || c.Fits(l.Subnets())):
			p.Keep = e.Key
		case !l.Reserved && len(p.Replace) < mostReplaced:
			if len(p.Replace) == 0 { // as much of the oldest as possible is kept
				p.previous = l.Subnets()
			}
			p.Replace = append(p.Replace, e.Key)
		}
	}
	for _, e := range entries {
		if !slices.Contains(p.Replace, e.Key) {
			p.taken.AddNamed(c, e.Named)
		}
	}
	return p
}

// Candidates yields what may be created, as [Config.Free] does.
func (p Plan) Candidates(n int) iter.Seq[Subnets] { return p.config.Free(p.previous, p.taken, n) }

// AddNamed marks what a record's key names. One that is refused for what its value says still
// holds its key; one that claims more than a host's subnet holds nothing, or a single junk key
// would exhaust the network.
func (t *Taken) AddNamed(c Config, named Subnets) {
	if c.Contains(named.V4) {
		t.set.Insert(named.V4)
	}
	if c.Contains(named.V6) {
		t.set.Insert(named.V6)
	}
}
