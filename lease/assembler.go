package lease

import (
	"cmp"
	"maps"
	"slices"
)

// A Change is what became of one record: Old nil, it is new; New nil, it is gone. Neither is changed.
type Change struct {
	Old, New *Entry
}

// An Assembler makes the snapshots of one network one after the other, each out of the last one and
// what changed since, so that a change in a network of thousands costs a copy and not a judgement of
// every record. What it makes is what [Assemble] would make. The zero value is ready for All; it is
// for one goroutine.
type Assembler struct {
	judge     judge
	last      *Snapshot          // the leases and problems that judge has in mind
	refused   map[string]Problem // by key
	aside     map[string]*Entry  // by key: the snapshot's Aside
	conflicts int                // how many of refused stand back behind an older record
	youngest  int64              // the highest Created so far
}

// All looks at every record, as [Assemble] does.
func (a *Assembler) All(revision int64, cfg Config, cfgErr error, entries []Entry) *Snapshot {
	a.judge = newJudge(cfg, cfgErr, len(entries))
	a.last = a.judge.all(revision, cfg, cfgErr, entries)
	a.refused, a.conflicts, a.youngest = map[string]Problem{}, 0, 0
	for _, p := range a.last.Problems {
		a.refuse(p)
	}
	a.aside = make(map[string]*Entry, len(a.last.Aside))
	for i := range a.last.Aside {
		a.aside[a.last.Aside[i].Key] = &a.last.Aside[i]
	}
	for i := range entries {
		a.youngest = max(a.youngest, entries[i].Created)
	}
	return a.last
}

// Next makes the snapshot after some changes, at most one for each key. false: who of several
// records counts can't be told from the changes alone; All must look at everything then.
//
// That is so where records that stood back might come in, and where a record that isn't the youngest
// claims what another one has. A new record is always the youngest, and so never displaces any.
func (a *Assembler) Next(revision int64, changes []Change) (*Snapshot, bool) {
	if a.last == nil {
		return nil, false
	}
	e := edits{}
	var fresh []*Entry
	for _, c := range changes {
		if c.Old != nil && !a.remove(c.Old, &e) {
			return a.lost()
		}
		if c.New != nil {
			fresh = append(fresh, c.New)
		}
	}
	slices.SortFunc(fresh, byAge)
	for _, n := range fresh {
		if !a.add(n, &e) {
			return a.lost()
		}
	}
	s := *a.last
	s.Revision, s.Leases = revision, e.apply(a.last.Leases)
	if e.problems {
		s.Problems = slices.SortedFunc(maps.Values(a.refused), byKey)
	}
	if e.aside {
		s.Aside = make([]Entry, 0, len(a.aside))
		for _, one := range slices.SortedFunc(maps.Values(a.aside), byAge) {
			s.Aside = append(s.Aside, *one)
		}
	}
	a.last = &s
	return a.last, true
}

// lost gives up what the judge has in mind, which is half-changed.
func (a *Assembler) lost() (*Snapshot, bool) {
	a.last = nil
	return nil, false
}

func (a *Assembler) refuse(p Problem) {
	a.refused[p.Key] = p
	if p.conflict() {
		a.conflicts++
	}
}

// conflict reports whether the record would count if an older one were gone.
func (p Problem) conflict() bool { return p.Reason == Overlap || p.Reason == DuplicatePublicIP }

// remove takes a record out; false when another one may come in for it.
func (a *Assembler) remove(old *Entry, e *edits) bool {
	if a.aside[old.Key] != nil {
		delete(a.aside, old.Key)
		e.aside = true
	}
	if p, out := a.refused[old.Key]; out {
		delete(a.refused, old.Key)
		if p.conflict() {
			a.conflicts--
		}
		e.problems = true
		return true
	}
	if a.conflicts > 0 {
		return false
	}
	l := a.judge.routed(old.Lease)
	a.judge.forget(l)
	e.remove(l)
	return true
}

// add takes a record in; false when only its age can tell whether it or another one counts.
func (a *Assembler) add(n *Entry, e *edits) bool {
	l, f := a.judge.admit(n)
	if n.aside(l, f) {
		a.aside[n.Key] = n
		e.aside = true
	}
	if f == nil {
		// One that comes in late may be what younger ones stand back behind by now.
		if a.conflicts > 0 && n.Created <= a.youngest {
			return false
		}
		e.add(l)
	} else {
		p := f.problem(n)
		if p.conflict() && n.Created <= a.youngest {
			return false
		}
		a.refuse(p)
		e.problems = true
	}
	a.youngest = max(a.youngest, n.Created)
	return true
}

// edits are what becomes of a sorted row of leases.
type edits struct {
	gone, added []Lease
	problems    bool // they have changed as well
	aside       bool // so has what is set aside
}

func (e *edits) remove(l Lease) { e.gone = append(e.gone, l) }
func (e *edits) add(l Lease)    { e.added = append(e.added, l) }

// apply returns a new row; the old one is somebody's snapshot.
func (e *edits) apply(leases []Lease) []Lease {
	slices.SortFunc(e.gone, bySubnet)
	slices.SortFunc(e.added, bySubnet)
	out := make([]Lease, 0, len(leases)-len(e.gone)+len(e.added))
	gone, added := e.gone, e.added
	for len(gone)+len(added) > 0 {
		// The next edit, and everything before it in one copy. Where one lease goes and another comes
		// with the same subnet, the going one is first.
		going := len(added) == 0 || len(gone) > 0 && bySubnet(gone[0], added[0]) <= 0
		var edit Lease
		if going {
			edit, gone = gone[0], gone[1:]
		} else {
			edit, added = added[0], added[1:]
		}
		at, found := slices.BinarySearchFunc(leases, edit, bySubnet)
		out = append(out, leases[:at]...)
		if leases = leases[at:]; found && going {
			leases = leases[1:]
		}
		if !going {
			out = append(out, edit)
		}
	}
	return append(out, leases...)
}

func byAge(a, b *Entry) int {
	return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.Key, b.Key))
}
