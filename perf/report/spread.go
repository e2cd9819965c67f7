package report

import "slices"

// A Spread is what several rounds of one figure say: the middle, and how far they lie apart. N is 0
// when there were none, and then everything else is too.
type Spread struct {
	N                int
	Median, Min, Max float64
}

// SpreadOf summarises values, in any order. It doesn't keep or change them.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	median := sorted[n/2]
	if n%2 == 0 {
		median = (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return Spread{N: n, Median: median, Min: sorted[0], Max: sorted[n-1]}
}

// Known reports whether there is anything to report.
func (s Spread) Known() bool { return s.N > 0 }

// Over divides two independent spreads: the ratio of the medians, and the widest bounds that the
// noise of both allows. Unknown where either is, or where b reaches 0.
func (s Spread) Over(b Spread) Spread {
	if !s.Known() || !b.Known() || b.Min == 0 || b.Median == 0 || b.Max == 0 {
		return Spread{}
	}
	return Spread{N: min(s.N, b.N), Median: s.Median / b.Median, Min: s.Min / b.Max, Max: s.Max / b.Min}
}
