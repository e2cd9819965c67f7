package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Format is the version of the JSON. A reader refuses a higher one.
const Format = 1

// A Run is one benchmark run, complete: what JSON holds.
type Run struct {
	Format   int       `json:"format"`
	Host     Host      `json:"host"`
	Date     time.Time `json:"date"`
	Settings Settings  `json:"settings"`
	Subjects []Subject `json:"subjects"`
	Skipped  []Skip    `json:"skipped,omitempty"`
	Warnings []string  `json:"warnings,omitempty"`
	Samples  []Sample  `json:"samples"`

	// Background is the share of all cores, 0 to 1, that other programs kept busy: the median of
	// what the idle gaps between the samples saw.
	Background float64 `json:"background"`
}

// Host says where and with what the run was made.
type Host struct {
	CPU    string `json:"cpu"` // model name
	Cores  int    `json:"cores"`
	Memory uint64 `json:"memory"` // bytes
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Commit string `json:"commit"` // of weft; "+dirty" when the tree had changes
}

// Settings are what the figures depend on beside the host.
type Settings struct {
	Rounds   int     `json:"rounds"`
	Seconds  float64 `json:"seconds"` // counted time of one sample
	Warmup   float64 `json:"warmup"`  // seconds before it
	Load     string  `json:"load"`    // whose load generators: "weft" or "iperf3" with its version
	Ends     string  `json:"ends"`    // where they ran: "containers" or "hosts"
	Underlay int     `json:"underlayMTU"`
	TCP      string  `json:"congestion,omitempty"` // TCP congestion control of the load; "" in runs of before it was noted
}

// Kind says who moves a subject's packets, and so what its CPU figures mean.
type Kind string

// The kinds of subject.
const (
	InKernel  Kind = "kernel"    // no forwarder process: ForwarderCPU and RSS don't exist
	UserSpace Kind = "userspace" // forwarder processes on both hosts
	InLane    Kind = "express"   // eBPF programs on both hosts, forwarder processes behind them
)

// A Subject is one fabric that was measured.
type Subject struct {
	Name   string `json:"name"`
	Kind   Kind   `json:"kind"`
	Detail string `json:"detail"` // version and what matters of its configuration
	MTU    int    `json:"mtu"`    // of the containers, bytes
}

// A Skip is a subject that was wanted and could not be measured.
type Skip struct {
	Name string `json:"name"`
	Why  string `json:"why"` // with the remedy
}

// A Sample is what one scenario brought for one subject in one round. Error is set where it failed;
// Values then hold nothing.
type Sample struct {
	Row      string             `json:"row"`
	Round    int                `json:"round"` // from 0
	Scenario string             `json:"scenario"`
	Subject  string             `json:"subject"`
	Values   map[Metric]float64 `json:"values,omitempty"`
	Error    string             `json:"error,omitempty"`
}

// Write writes the run as indented JSON.
func (r *Run) Write(w io.Writer) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encoding the run: %w", err)
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// ErrFormat: the JSON was written by a later weft.
var ErrFormat = errors.New("format is newer than this weft understands")

// Read reads a run that [Run.Write] wrote. It takes what an earlier format wrote and refuses a later one.
func Read(from io.Reader) (*Run, error) {
	var r Run
	if err := json.NewDecoder(from).Decode(&r); err != nil {
		return nil, fmt.Errorf("decoding the run: %w: use a file that `weft bench --json` wrote", err)
	}
	switch {
	case r.Format > Format:
		return nil, fmt.Errorf("decoding the run: format %d: %w: use the weft that wrote it", r.Format, ErrFormat)
	case r.Format < 1 || len(r.Subjects) == 0:
		return nil, errors.New("decoding the run: no benchmark in it: use a file that `weft bench --json` wrote")
	}
	return &r, nil
}

// Rows are the wire rows that have samples, in the order they ran.
func (r *Run) Rows() []string {
	var rows []string
	for _, s := range r.Samples {
		if !slices.Contains(rows, s.Row) {
			rows = append(rows, s.Row)
		}
	}
	return rows
}

// Subject returns the subject of that name.
func (r *Run) Subject(name string) (Subject, bool) {
	i := slices.IndexFunc(r.Subjects, func(s Subject) bool { return s.Name == name })
	if i < 0 {
		return Subject{}, false
	}
	return r.Subjects[i], true
}

// A Figure names one series of values: a metric of a scenario for a subject on a wire row.
type Figure struct {
	Row, Scenario, Subject string
	Metric                 Metric
}

// Of returns the figure that a column shows for a subject.
func (c Column) Of(row, subject string) Figure {
	return Figure{Row: row, Scenario: c.Scenario, Subject: subject, Metric: c.Metric}
}

// rounds returns the figure's values by round. Failed samples have none.
func (r *Run) rounds(f Figure) map[int]float64 {
	values := map[int]float64{}
	for _, s := range r.Samples {
		value, ok := s.Values[f.Metric]
		if ok && s.Row == f.Row && s.Scenario == f.Scenario && s.Subject == f.Subject {
			values[s.Round] = value
		}
	}
	return values
}

// Spread summarises a figure over its rounds.
func (r *Run) Spread(f Figure) Spread {
	return SpreadOf(slices.Collect(maps.Values(r.rounds(f))))
}

// Ratio summarises a/b, taken round by round where both have a value and b isn't 0.
func (r *Run) Ratio(a, b Figure) Spread {
	over := r.rounds(b)
	var ratios []float64
	for round, value := range r.rounds(a) {
		if base, ok := over[round]; ok && base != 0 {
			ratios = append(ratios, value/base)
		}
	}
	return SpreadOf(ratios)
}

// Failures counts the samples that failed, by subject.
func (r *Run) Failures() map[string]int {
	failed := map[string]int{}
	for _, s := range r.Samples {
		if s.Error != "" {
			failed[s.Subject]++
		}
	}
	return failed
}
