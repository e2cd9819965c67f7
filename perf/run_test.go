package perf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/perf/load"
	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
	"weft/perf/report"
)

// TestMain lets this test binary be its own load generator, as the weft binary is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == loadCommand {
		var job load.Job
		if json.Unmarshal([]byte(os.Args[2]), &job) != nil || load.Run(context.Background(), job, os.Stdout) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		fmt.Fprintln(os.Stderr, "no such command here:", os.Args[1]) // and no tests inside of tests
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// inLab returns options for the shortest run that measures everything, or skips.
func inLab(t *testing.T) Options {
	t.Helper()
	labtest.Need(t)
	o := Defaults()
	o.Rounds, o.Duration, o.Warmup, o.Gap = 2, 100*time.Millisecond, 20*time.Millisecond, 0
	o.Subjects = []string{report.Plain, report.Reference}
	var err error
	if o.Weft, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	return o
}

// labsOfThis lists the labs that this process built and that still stand.
func labsOfThis(t *testing.T) (ids []string) {
	t.Helper()
	labs, err := netlab.Labs()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range labs {
		if l.Owner == os.Getpid() {
			ids = append(ids, l.ID)
		}
	}
	return ids
}

func TestRunMeasuresEverythingOnBothRows(t *testing.T) {
	o := inLab(t)
	var said bytes.Buffer
	o.Progress = &said
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range o.Rows {
		for _, c := range report.Columns() {
			if c.Scenario == report.Memory || c.Metric == report.ForwarderCPU {
				continue // kernel datapaths have no process
			}
			for _, s := range o.Subjects {
				// So short a sample costs less than a clock tick now and then.
				cost := c.Metric == report.MachineCPU || c.Metric == report.TotalCPU
				if got := r.Spread(c.Of(row, s)); got.N != o.Rounds || got.Max <= 0 && !cost {
					t.Errorf("%s, %s of %s: %+v, want a figure in each of %d rounds", row, c.Scenario+" "+string(c.Metric), s, got, o.Rounds)
				}
			}
		}
	}
	if failed := r.Failures(); len(failed) != 0 {
		t.Errorf("failed samples: %v\n%s", failed, said.String())
	}
	if want := "[32/64, "; !strings.Contains(said.String(), want) || r.Host.Kernel == "" || r.Host.CPU == "" {
		t.Errorf("progress lacks %q, or the host is unknown: %+v\n%s", want, r.Host, said.String())
	}
	if left := labsOfThis(t); len(left) != 0 {
		t.Errorf("labs %v were left behind", left)
	}
}

func TestRunFromHostToHost(t *testing.T) {
	o := inLab(t)
	o.Ends, o.Rounds, o.Rows, o.Scenarios = EndsHosts, 1, o.Rows[:1], []string{report.TCP1, report.UDPMTU}
	r, err := Run(t.Context(), o)
	if err != nil || len(r.Samples) != 4 || len(r.Failures()) != 0 {
		t.Errorf("%v, %+v", err, r)
	}
}

// cutAfter ends a context when a text has been written.
type cutAfter struct {
	text   string
	cancel context.CancelFunc
}

func (c cutAfter) Write(p []byte) (int, error) {
	if strings.Contains(string(p), c.text) {
		c.cancel()
	}
	return len(p), nil
}

func TestInterruptedRunKeepsWhatItHasAndCleansUp(t *testing.T) {
	for _, at := range []string{report.Plain + " is up", "[3/"} {
		o := inLab(t)
		ctx, cancel := context.WithCancel(t.Context())
		o.Scenarios, o.Rounds, o.Rows = []string{report.Latency}, 3, o.Rows[:1]
		o.Progress = cutAfter{at, cancel}
		r, err := Run(ctx, o)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted at %q: %v", at, err)
		}
		if r != nil && len(r.Samples) != 3 {
			t.Errorf("interrupted at %q: %d samples, want the 3 taken", at, len(r.Samples))
		}
		if left := labsOfThis(t); len(left) != 0 {
			t.Errorf("interrupted at %q: labs %v were left behind", at, left)
		}
	}
}

func TestUnbuildableSubjectIsSkippedWithItsReason(t *testing.T) {
	o := inLab(t)
	o.Scenarios, o.Rounds, o.Rows = []string{report.Latency}, 1, o.Rows[:1]
	o.Subjects = []string{report.Plain, report.Weft} // this test binary is no weft agent
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	isWeft := func(s report.Skip) bool {
		return s.Name == report.Weft && strings.Contains(s.Why, "etcd ended (exit status 2): no such command here: etcd")
	}
	if !slices.ContainsFunc(r.Skipped, isWeft) || len(r.Subjects) != 1 {
		t.Errorf("skipped %+v, measured %+v", r.Skipped, r.Subjects)
	}
}
