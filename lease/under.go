package lease

import (
	"bytes"
	"cmp"
	"slices"
)

// Under returns the snapshot as it is under another config: the one that a host still goes by while
// the store has one that it can't follow. Records that only the store's config shut out count
// again, and those that only it let in don't. The receiver is not changed; it is the result where
// the two configs are the same.
//
// Of two records that exclude each other under this config alone, the one that counted in the
// store's goes first, whatever their age.
func (s *Snapshot) Under(c Config) *Snapshot {
	if s.ConfigErr == nil && bytes.Equal(s.Config.Raw, c.Raw) {
		return s
	}
	entries := slices.Clone(s.Aside)
	again := map[string]bool{} // keys that are judged here anew
	whole := map[string]bool{} // tokens of leases of which Aside has the whole
	for _, e := range s.Aside {
		again[e.Key], whole[e.Lease.Token] = true, true
	}
	for _, l := range s.Leases {
		if l.Token == "" || !whole[l.Token] {
			entries = append(entries, Entry{Key: Key(l.Subnets()), Named: l.Subnets(), Lease: l})
		}
	}
	next := Assemble(s.Revision, c, nil, entries)
	for _, p := range s.Problems {
		if !again[p.Key] { // no config makes it readable
			next.Problems = append(next.Problems, p)
		}
	}
	slices.SortFunc(next.Problems, func(a, b Problem) int { return cmp.Compare(a.Key, b.Key) })
	return next
}
