package tunnel

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

var (
	addrA = netip.MustParseAddrPort("192.0.2.1:8285")
	addrB = netip.MustParseAddrPort("192.0.2.2:8285")
)

// datagrams makes one datagram of each size, to addrA, or to addrB where the size is negative.
func datagrams(sizes ...int) (out []Datagram) {
	for _, n := range sizes {
		d := Datagram{Addr: addrA}
		if n < 0 {
			d.Addr, n = addrB, -n
		}
		d.Head, d.Payload = make([]byte, min(n, 28)), make([]byte, max(n-28, 0))
		out = append(out, d)
	}
	return out
}

func repeat(size, count int) []int { return slices.Repeat([]int{size}, count) }

func TestPlanRuns(t *testing.T) {
	modern := RunLimits{Segments: runSegments, Bytes: maxRunBytes}
	for _, c := range []struct {
		name   string
		sizes  []int
		limits RunLimits
		want   []int // datagrams of each run
	}{
		{"nothing", nil, modern, nil},
		{"one", []int{100}, modern, []int{1}},
		{"equal", []int{100, 100, 100}, modern, []int{3}},
		{"shorter last", []int{100, 100, 60}, modern, []int{3}},
		{"nothing follows the shorter", []int{100, 60, 60, 60}, modern, []int{2, 2}},
		{"longer begins anew", []int{60, 100, 100}, modern, []int{1, 2}},
		{"address changes", []int{100, 100, -100, -100, 100}, modern, []int{2, 2, 1}},
		{"empty goes alone", []int{100, 0, 0, 100}, modern, []int{1, 1, 1, 1}},
		{"segment limit", repeat(100, 130), modern, []int{127, 3}},
		{"segment limit before 6.9", repeat(100, 130), RunLimits{runSegmentsOld, maxRunBytes}, []int{63, 63, 4}},
		{"byte limit", repeat(1472, 50), modern, []int{44, 6}},
		{"byte limit exactly", []int{65000, 507}, modern, []int{2}},
		{"one byte over", []int{65000, 508}, modern, []int{1, 1}},
		{"switched off", repeat(100, 3), RunLimits{1, maxRunBytes}, []int{1, 1, 1}},
	} {
		var got []int
		for _, run := range PlanRuns(nil, datagrams(c.sizes...), c.limits) {
			got = append(got, run.Count)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: runs of %v, want %v", c.name, got, c.want)
		}
	}
}

func TestWhatIsToBeAloneIsInNoRun(t *testing.T) {
	out := datagrams(100, 100, 100, 100, 100, 100)
	out[2].Alone, out[3].Alone = true, true
	var got []int
	for _, run := range PlanRuns(nil, out, RunLimits{Segments: runSegments, Bytes: maxRunBytes}) {
		got = append(got, run.Count)
	}
	if want := []int{2, 1, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("runs of %v, want %v", got, want)
	}
}

// Whatever the batch, every datagram is in exactly one run, in order, and every run is one that
// UDP_SEGMENT cuts back into the same datagrams.
func TestPlanRunsLosesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		sizes := make([]int, random.IntN(80))
		for i := range sizes {
			sizes[i] = []int{0, 1, 60, 60, 60, -60, 1400, 1400, 30000}[random.IntN(9)]
		}
		out, next := datagrams(sizes...), 0
		for _, run := range PlanRuns(nil, out, RunLimits{Segments: 5, Bytes: 40000}) {
			if run.First != next || run.Count < 1 || run.Count > 5 {
				t.Fatalf("sizes %v: run %+v after %d datagrams", sizes, run, next)
			}
			next += run.Count
			total := 0
			for i, d := range out[run.First:next] {
				total += d.Len()
				if d.Addr != out[run.First].Addr || i < run.Count-1 && d.Len() != run.SegmentSize || d.Len() > run.SegmentSize {
					t.Fatalf("sizes %v: datagram %d doesn't fit %+v", sizes, i, run)
				}
			}
			if run.Count > 1 && total > 40000 {
				t.Fatalf("sizes %v: run of %d bytes", sizes, total)
			}
		}
		if next != len(out) {
			t.Fatalf("sizes %v: %d datagrams planned", sizes, next)
		}
	}
}

func BenchmarkPlanRuns(b *testing.B) {
	out, limits := datagrams(repeat(1472, 352)...), RunLimits{Segments: runSegments, Bytes: maxRunBytes}
	runs := make([]Run, 0, len(out))
	b.ReportAllocs()
	for b.Loop() {
		runs = PlanRuns(runs[:0], out, limits)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/352, "ns/datagram")
}
