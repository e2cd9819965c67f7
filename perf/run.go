package perf

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"weft/perf/report"
)

// A bench is one run in progress.
type bench struct {
	options   *Options
	scenarios []scenario
	fabrics   []*fabric
	report    *report.Run
	progress  progress
	busy      []float64 // share of the cores that were busy in each gap, when nothing should be
}

// Run measures what the options ask for. It needs root, and returns errors.Join of what went wrong
// in the end; a subject that can't be built or breaks is skipped with its reason, not an error. When
// ctx ends early, what was measured until then is returned beside ctx's error. The labs are gone when
// Run returns.
func Run(ctx context.Context, o Options) (result *report.Run, err error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	b := &bench{options: &o, progress: progress{to: o.Progress}}
	if b.scenarios, err = o.choose(); err != nil {
		return nil, err
	}
	wanted, err := o.candidates()
	if err != nil {
		return nil, err
	}
	if b.report, err = o.newReport(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.build(ctx, wanted); err != nil {
		return nil, err
	}
	if len(b.fabrics) == 0 {
		return nil, fmt.Errorf("nothing to measure: every subject was skipped: %v", b.report.Skipped)
	}
	b.progress.begin(b.samples(), b.sampleTime())
	err = b.measureAll(ctx)
	b.report.Background = report.SpreadOf(b.busy).Median
	b.report.Warnings = append(b.report.Warnings, b.report.Doubts()...)
	return b.report, err
}

// build makes a fabric of every subject that can be had here, one after the other: agents that start
// at once would time each other out on a small machine.
func (b *bench) build(ctx context.Context, wanted []subject) error {
	for _, s := range wanted {
		if err := s.missing(ctx, b.options); err != nil {
			b.skip(s.name, err)
			continue
		}
		f, err := b.buildOne(ctx, s)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			b.skip(s.name, err)
			continue
		}
		b.fabrics = append(b.fabrics, f)
		b.report.Subjects = append(b.report.Subjects, report.Subject{Name: f.name, Kind: f.kind, Detail: f.detail, MTU: f.mtu})
		b.progress.say("%s is up, MTU %d", s.name, f.mtu)
	}
	return nil
}

func (b *bench) buildOne(ctx context.Context, s subject) (*fabric, error) {
	f, err := newFabric(ctx, s, b.options)
	if err != nil {
		return nil, err
	}
	if err = s.build(ctx, f, b.options, s); err == nil {
		b.report.Settings.TCP, err = f.control(b.options.Congestion)
	}
	if err == nil {
		err = f.awaitPath(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// skip notes why a subject is not in the run. It is a line of the result, never a silent gap.
func (b *bench) skip(name string, why error) {
	b.report.Skipped = append(b.report.Skipped, report.Skip{Name: name, Why: why.Error()})
	b.progress.say("skipping %s: %v", name, why)
}

// close takes every lab down. It goes on after a failure, since each lab left costs the machine.
func (b *bench) close() error {
	var failed []error
	for _, f := range b.fabrics {
		failed = append(failed, f.close())
	}
	return errors.Join(failed...)
}

// measureAll is the drawing in doc.go: rows, rounds, scenarios, and every subject by turns. Rows are
// outermost because switching a wire disturbs what runs over it; subjects are innermost so that what
// is compared ran within seconds of each other.
func (b *bench) measureAll(ctx context.Context) error {
	for _, row := range b.options.Rows {
		for _, f := range b.fabrics {
			if err := f.lab.SetSegmentation(row == report.RowSegmented); err != nil {
				return fmt.Errorf("setting the wire of %s: %w", f.name, err)
			}
		}
		for round := range b.options.Rounds {
			for _, s := range b.scenarios {
				for _, f := range inTurn(b.fabrics, round) {
					if f.brief && !s.ladder && len(b.options.Scenarios) == 0 || f.failures >= tooManyFailures {
						continue
					}
					if err := b.sample(ctx, f, s, row, round); err != nil {
						return err
					}
				}
			}
			b.memory(row, round)
		}
	}
	return nil
}

// tooManyFailures in a row mean that a subject is broken, and waiting for it again and again is not
// worth the time.
const tooManyFailures = 3

// inTurn begins with another subject each round, so that none always follows the same one.
func inTurn(fabrics []*fabric, round int) []*fabric {
	first := round % len(fabrics)
	return slices.Concat(fabrics[first:], fabrics[:first])
}

// sample measures once and notes the result, or why there is none. The error is ctx's, or that the
// machine's clocks can't be read.
func (b *bench) sample(ctx context.Context, f *fabric, s scenario, row string, round int) error {
	if err := b.rest(ctx); err != nil {
		return err
	}
	values, err := b.measure(ctx, f, s)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	sample := report.Sample{Row: row, Round: round, Scenario: s.name, Subject: f.name, Values: values}
	f.failures = 0
	if err != nil {
		sample.Values, sample.Error = nil, errors.Join(err, f.check()).Error()
		f.failures++
		if later := b.failuresOf(f); f.failures == tooManyFailures {
			b.report.Warnings = append(b.report.Warnings, fmt.Sprintf("%s isn't measured any more after %d failures, the last: %s", f.name, later+1, sample.Error))
		}
	}
	b.report.Samples = append(b.report.Samples, sample)
	b.progress.sample(b.options.Rounds, sample)
	return nil
}

// rest waits for the gap between samples, and notes what the machine did meanwhile.
func (b *bench) rest(ctx context.Context) error {
	if b.options.Gap == 0 {
		return context.Cause(ctx)
	}
	before, err := machineCPU()
	if err != nil {
		return err
	}
	start := time.Now()
	select {
	case <-time.After(b.options.Gap):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	after, err := machineCPU()
	if err != nil {
		return err
	}
	all := time.Since(start) * time.Duration(b.report.Host.Cores)
	b.busy = append(b.busy, min(float64(after-before)/float64(all), 1))
	return nil
}

// failuresOf counts a subject's failed samples so far.
func (b *bench) failuresOf(f *fabric) int { return b.report.Failures()[f.name] }

// memory notes what the forwarders hold after a round, under the load of all its scenarios. The peak
// only ever grows, so the last round has the truth; a leak shows as rounds that differ.
func (b *bench) memory(row string, round int) {
	for _, f := range b.fabrics {
		values, err := memoryOf(f.forwarders)
		if err != nil {
			b.progress.say("%s: %v", f.name, err)
		}
		if values != nil {
			b.report.Samples = append(b.report.Samples, report.Sample{Row: row, Round: round, Scenario: report.Memory, Subject: f.name, Values: values})
		}
	}
}

// samples is how many samples the run will take, for the announcement.
func (b *bench) samples() int {
	n := 0
	for _, s := range b.scenarios {
		for _, f := range b.fabrics {
			if !f.brief || s.ladder || len(b.options.Scenarios) > 0 {
				n++
			}
		}
	}
	return n * b.options.Rounds * len(b.options.Rows)
}

// sampleTime is about what one sample takes.
func (b *bench) sampleTime() time.Duration {
	const starting = 100 * time.Millisecond
	return b.options.Gap + b.options.Warmup + b.options.Duration + starting
}
