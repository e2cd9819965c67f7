package perf

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"weft/perf/report"
)

// Where load can run.
const (
	EndsContainers = "containers" // behind a bridge on each host: what users see
	EndsHosts      = "hosts"      // on the hosts themselves: two veths and two bridges less
)

// Whose load generators can run.
const (
	LoadOwn   = "weft"
	LoadIPerf = "iperf3" // bulk TCP and UDP of one size; everything else is still weft's own
)

// Options say what to measure. The zero value isn't valid: begin with [Defaults].
type Options struct {
	Rounds   int           // 1 to 1000; medians want 5
	Duration time.Duration // counted time of one sample
	Warmup   time.Duration // before it
	Gap      time.Duration // idle time between two samples

	Rows      []string // report.RowGSO, report.RowSegmented
	Scenarios []string // names of Scenarios; empty: all, or the brief ones where Quick
	Subjects  []string // names of SubjectNames; empty: all, or all but the ladder and the mixes where Quick
	Quick     bool

	Ends        string
	Load        string
	UnderlayMTU int
	Congestion  string // TCP congestion control where load runs, as net.ipv4.tcp_congestion_control names it; "": this machine's own

	Weft      string   // the weft binary: for agents, their etcd, and load (its bench-load)
	WeftFlags []string // more flags for every weft agent
	Commit    string   // of weft, for the report

	Progress io.Writer // a line for everything that begins or ends; nil: silence
}

// Defaults are a full run.
func Defaults() Options {
	return Options{
		Rounds: 5, Duration: 1500 * time.Millisecond, Warmup: 300 * time.Millisecond, Gap: 200 * time.Millisecond,
		Rows: []string{report.RowGSO, report.RowSegmented},
		Ends: EndsContainers, Load: LoadOwn, UnderlayMTU: 1500,
	}
}

// MakeQuick shortens a run to what a glance needs: the main scenarios on one wire row, without the
// ladder. Set what should differ afterwards.
func (o *Options) MakeQuick() {
	o.Quick, o.Rounds, o.Duration = true, 3, time.Second
	o.Rows = []string{report.RowGSO}
}

// Check says what is wrong with the options, every fault at once, so that nobody has to try five
// times. Nothing is built before it passes.
func (o *Options) Check() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(o.Rounds >= 1 && o.Rounds <= 1000, "rounds %d: use 1 to 1000", o.Rounds)
	check(o.Duration >= 100*time.Millisecond && o.Duration <= time.Hour, "duration %v: use 100ms to 1h", o.Duration)
	check(o.Warmup >= 0 && o.Gap >= 0, "warm-up %v and gap %v: use 0 or more", o.Warmup, o.Gap)
	check(len(o.Rows) > 0, "no wire row: use %s,%s", report.RowGSO, report.RowSegmented)
	for _, row := range o.Rows {
		check(row == report.RowGSO || row == report.RowSegmented, "wire row %q: use %s or %s", row, report.RowGSO, report.RowSegmented)
	}
	ends, loads := []string{EndsContainers, EndsHosts}, []string{LoadOwn, LoadIPerf}
	check(slices.Contains(ends, o.Ends), "ends %q: use %s", o.Ends, strings.Join(ends, " or "))
	check(slices.Contains(loads, o.Load), "load %q: use %s", o.Load, strings.Join(loads, " or "))
	check(o.UnderlayMTU >= 1480 && o.UnderlayMTU <= 65000, "underlay MTU %d: use 1480 to 65000 (IMIX packets of 1400 bytes must fit)", o.UnderlayMTU)
	check(o.Weft != "", "no weft binary: name one")
	_, err := o.choose()
	faults = append(faults, err)
	_, err = o.candidates()
	return errors.Join(append(faults, err)...)
}
