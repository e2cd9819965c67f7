package lease

import (
	"iter"
	"math/rand/v2"
	"net/netip"

	"github.com/gaissmai/bart"
)

// Candidates is how many free subnets a host draws from at its first attempt, as flannel does it.
const Candidates = 100

// Taken is the set of subnets that can't be handed out. The zero value is empty and ready.
// It is for one goroutine.
type Taken struct {
	set bart.Lite
}

// Add marks both subnets of s, where they are there.
func (t *Taken) Add(s Subnets) {
	for _, p := range []netip.Prefix{s.V4, s.V6} {
		if p.IsValid() {
			t.set.Insert(p)
		}
	}
}

// Overlaps reports whether a part of s is taken.
func (t *Taken) Overlaps(s Subnets) bool { return t.overlaps(s.V4) || t.overlaps(s.V6) }

func (t *Taken) overlaps(p netip.Prefix) bool {
	return p.IsValid() && t.set.OverlapsPrefix(p)
}

// Free yields what a host may try to lease, in this order: what it had before, where that still
// fits the config and is free, then random ones of the first n free subnets. Nothing comes when
// the range is exhausted. Either family of previous may be missing or taken; the other is kept.
//
// n is [Candidates] at first. Hosts that lost races should widen it, since a thousand of them that
// draw from the same hundred subnets lose most of the time.
func (c Config) Free(previous Subnets, taken *Taken, n int) iter.Seq[Subnets] {
	return func(yield func(Subnets) bool) {
		var v4, v6 []netip.Prefix
		count := n
		if c.EnableIPv4 {
			v4 = c.span4().free(previous.V4, taken, n)
			count = min(count, len(v4))
		}
		if c.EnableIPv6 {
			v6 = c.span6().free(previous.V6, taken, n)
			count = min(count, len(v6))
		}
		for i := range count {
			var s Subnets
			if c.EnableIPv4 {
				s.V4 = v4[i]
			}
			if c.EnableIPv6 {
				s.V6 = v6[i]
			}
			if !yield(s) {
				return
			}
		}
	}
}

// free returns previous if it may be had, and the first n free subnets in random order.
func (s span) free(previous netip.Prefix, taken *Taken, n int) []netip.Prefix {
	var out []netip.Prefix
	if s.fits(previous) && !taken.overlaps(previous) {
		out = append(out, previous)
	}
	kept := len(out)
	p, ok := netip.PrefixFrom(s.first, s.bits), true
	for ok && len(out) < n && p.Addr().Compare(s.last) <= 0 {
		if !taken.overlaps(p) && (kept == 0 || p != previous) {
			out = append(out, p)
		}
		p, ok = nextSubnet(p)
	}
	rest := out[kept:]
	rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return out
}
