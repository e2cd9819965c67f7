package report

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// sample is a run whose every figure can be checked by hand: rounds drift by 10 %, and every subject
// has a fixed share of the reference in each.
func sample() *Run {
	r := &Run{
		Format: Format,
		Host: Host{CPU: "Example CPU", Cores: 2, Memory: 1 << 34, Kernel: "6.18.0",
			Go: "go1.26.8", Commit: "0123abc"},
		Date:     time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC),
		Settings: Settings{Rounds: 3, Seconds: 2, Warmup: 0.3, Load: "weft", Ends: "containers", Underlay: 1500, TCP: "cubic"},
		Subjects: []Subject{
			{Name: Plain, Kind: InKernel, Detail: "routes, no tunnel", MTU: 1500},
			{Name: Reference, Kind: InKernel, Detail: "VNI 1", MTU: 1450},
			{Name: Weft, Kind: UserSpace, Detail: "all offloads", MTU: 1472},
		},
		Skipped: []Skip{{Name: Nebula, Why: "nebula is not on PATH: install it to measure it"}},
	}
	share := map[string]float64{Plain: 1.25, Reference: 1, Weft: 0.9}
	for _, row := range []string{RowGSO, RowSegmented} {
		for round := range 3 {
			for _, s := range r.Subjects {
				speed := share[s.Name] * (1 - 0.1*float64(round))
				r.Samples = append(r.Samples,
					Sample{Row: row, Round: round, Scenario: TCP1, Subject: s.Name, Values: map[Metric]float64{Gbps: 10 * speed, TotalCPU: 1.5 / speed}},
					Sample{Row: row, Round: round, Scenario: UDP64, Subject: s.Name, Values: map[Metric]float64{PPS: 150e3 * speed, Reordered: 0}},
					Sample{Row: row, Round: round, Scenario: Latency, Subject: s.Name, Values: map[Metric]float64{P50: 30 / speed, P99: 60 / speed, P999: 200 / speed}},
				)
			}
			r.Samples = append(r.Samples, Sample{Row: row, Round: round, Scenario: Memory, Subject: Weft, Values: map[Metric]float64{PeakRSS: 31 + float64(round)}})
		}
	}
	r.Samples = append(r.Samples, Sample{Row: RowGSO, Round: 1, Scenario: TCP16, Subject: Weft, Error: "connecting: timeout"})
	return r
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got, go test -update rewrites it):\n%s", name, diff)
	}
}

func TestJSONRoundTrip(t *testing.T) {
	var text bytes.Buffer
	if err := sample().Write(&text); err != nil {
		t.Fatal(err)
	}
	golden(t, "run.json", text.Bytes())
	got, err := Read(&text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Errorf("run changed on its way through JSON (-want +got):\n%s", diff)
	}
}

func TestReadRefusesWhatIsNoRun(t *testing.T) {
	for text, want := range map[string]string{
		``:                              "decoding the run",
		`{"format":1}`:                  "no benchmark in it",
		`{"format":2,"subjects":[{}]}`:  "format 2",
		`[1,2]`:                         "decoding the run",
		`{"subjects":[{"name":"veth"}]`: "decoding the run",
	} {
		_, err := Read(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "use ") {
			t.Errorf("%q: error %v: want %q and a remedy", text, err, want)
		}
	}
	if _, err := Read(strings.NewReader(`{"format":2}`)); !errors.Is(err, ErrFormat) {
		t.Errorf("a later format gives %v, want ErrFormat", err)
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	r := sample()
	r.Background = 0.3
	r.Warnings = r.Doubts()
	if err := WriteTable(&out, r); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", out.Bytes())
}

func TestGoals(t *testing.T) {
	var out bytes.Buffer
	if err := WriteGoals(&out, sample()); err != nil {
		t.Fatal(err)
	}
	golden(t, "goals.txt", out.Bytes())
}

func TestJudgeBounds(t *testing.T) {
	r := sample()
	speed := Figure{RowGSO, TCP1, Weft, Gbps}
	base := Figure{RowGSO, TCP1, Reference, Gbps}
	peak := Figure{RowGSO, Memory, Weft, PeakRSS}
	for _, c := range []struct {
		goal    Goal
		met     bool
		unknown string
	}{
		{Goal{Figure: speed, Over: base, Bound: 0.89}, true, ""},
		{Goal{Figure: speed, Over: base, Bound: 0.91}, false, ""},
		{Goal{Figure: speed, Over: base, Bound: 0.91, AtMost: true}, true, ""},
		{Goal{Figure: peak, Bound: 32, AtMost: true}, true, ""},
		{Goal{Figure: peak, Bound: 32, AtMost: true, Largest: true}, false, ""},
		{Goal{Figure: speed, Over: base, Bound: 0.1, Cores: 4}, false, "needs 4"},
		{Goal{Figure: speed, Over: Figure{RowGSO, TCP1, Nebula, Gbps}}, false, "not measured"},
	} {
		v := c.goal.Judge(r)
		if v.Met != c.met || !strings.Contains(v.Unknown, c.unknown) || (v.Unknown == "") != (c.unknown == "") {
			t.Errorf("%+v: met %v, unknown %q: want %v, %q", c.goal, v.Met, v.Unknown, c.met, c.unknown)
		}
	}
}

func TestCompare(t *testing.T) {
	before, after := sample(), sample()
	after.Host.Kernel = "6.19.0"
	for i := range after.Samples {
		s := &after.Samples[i]
		for m := range s.Values {
			s.Values[m] *= 0.7 // the machine drifted
		}
		if s.Subject == Weft && s.Scenario == TCP1 {
			s.Values[Gbps] *= 1.5
		}
	}
	var out bytes.Buffer
	if err := WriteComparison(&out, before, after); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.txt", out.Bytes())
}

func TestCompareWithNothingInCommon(t *testing.T) {
	after := sample()
	after.Samples = nil
	var out bytes.Buffer
	if err := WriteComparison(&out, sample(), after); err != nil || !strings.Contains(out.String(), "nothing in common") {
		t.Errorf("wrote %q, %v", out.String(), err)
	}
}

func TestSignificanceFollowsDirection(t *testing.T) {
	up := Spread{N: 3, Median: 1.2, Min: 1.1, Max: 1.3}
	down := Spread{N: 3, Median: 0.8, Min: 0.7, Max: 0.9}
	unsure := Spread{N: 3, Median: 1.2, Min: 0.9, Max: 1.5}
	for _, c := range []struct {
		metric Metric
		ratio  Spread
		want   string
	}{{Gbps, up, Better}, {Gbps, down, Worse}, {P99, up, Worse}, {P99, down, Better}, {Gbps, unsure, Noise}} {
		if got := (Change{Column: Column{Metric: c.metric}, Ratio: c.ratio}).Significance(); got != c.want {
			t.Errorf("%s %v: %s, want %s", c.metric, c.ratio, got, c.want)
		}
	}
}

func TestRatioIsTakenRoundByRound(t *testing.T) {
	r := &Run{}
	add := func(round int, subject string, value float64) {
		r.Samples = append(r.Samples, Sample{Row: RowGSO, Round: round, Scenario: TCP1, Subject: subject, Values: map[Metric]float64{Gbps: value}})
	}
	// The machine is ten times slower in the last round: medians of each alone would say 1.
	for round, speed := range []float64{10, 11, 1} {
		add(round, Weft, speed/2)
		add(round, Reference, speed)
	}
	add(3, Weft, 100) // nothing to divide by
	got := r.Ratio(Figure{RowGSO, TCP1, Weft, Gbps}, Figure{RowGSO, TCP1, Reference, Gbps})
	if got != (Spread{N: 3, Median: 0.5, Min: 0.5, Max: 0.5}) {
		t.Errorf("ratio %+v, want 0.5 in each of 3 rounds", got)
	}
}

func TestSpread(t *testing.T) {
	values := []float64{3, 1, 2, 10}
	if got := SpreadOf(values); got != (Spread{4, 2.5, 1, 10}) {
		t.Errorf("spread of four: %+v", got)
	}
	if values[0] != 3 {
		t.Error("SpreadOf sorted its argument")
	}
	if got := SpreadOf(values[:3]); got != (Spread{3, 2, 1, 3}) {
		t.Errorf("spread of three: %+v", got)
	}
	if SpreadOf(nil).Known() || (Spread{1, 1, 1, 1}).Over(Spread{1, 0, 0, 0}).Known() {
		t.Error("a spread of nothing, or over zero, is known")
	}
	if got := (Spread{3, 4, 2, 6}).Over(Spread{3, 2, 1, 4}); got != (Spread{3, 2, 0.5, 6}) {
		t.Errorf("quotient %+v: want the widest bounds", got)
	}
}

func TestCeilingNamesOnlyRatesNearPlain(t *testing.T) {
	r := sample() // the reference has 80 % of plain, weft 72 %
	if got := r.Ceilings(); len(got) != 0 {
		t.Errorf("warnings without cause: %v", got)
	}
	for i := range r.Samples {
		if s := &r.Samples[i]; s.Subject == Weft && s.Scenario == UDP64 && s.Row == RowGSO {
			s.Values[PPS] *= 1.25
		}
	}
	if got := r.Ceilings(); len(got) != 1 || !strings.Contains(got[0], ": udp64 weft 90 %") || !strings.Contains(got[0], "gso: more than 85 % of veth") {
		t.Errorf("warnings %q: want one, about weft at 90 %%", got)
	}
}
