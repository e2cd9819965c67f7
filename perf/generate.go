package perf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"weft/perf/load"
	"weft/perf/netlab"
	"weft/perf/report"
)

// loadCommand is the subcommand of the weft binary that runs one load.Job.
const loadCommand = "bench-load"

// measured is what one pair of load generators brought.
type measured struct {
	values     map[report.Metric]float64
	bytes      uint64        // payload bytes carried, warm-up included; 0 where cost per byte makes no sense
	exchanges  uint64        // messages or connections counted, each of a packet at least in either direction
	generators time.Duration // CPU time of both generators
}

// measure runs one scenario once over a fabric, and reads what it cost. CPU is read before the
// generators start and after they have ended, when nothing of theirs is under way any more; their own
// start is a few milliseconds of the generators' time, not of the forwarders'.
func (b *bench) measure(ctx context.Context, f *fabric, s scenario) (map[report.Metric]float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lanes, err := f.readLanes(ctx)
	if err != nil {
		return nil, err
	}
	before, err := usageOf(f.forwarders)
	if err != nil {
		return nil, err
	}
	generate := b.own
	if b.options.Load == LoadIPerf && iperfCan(s) {
		generate = b.iperf
	}
	m, err := generate(ctx, f, s)
	if err != nil {
		return nil, err
	}
	after, err := usageOf(f.forwarders)
	if err != nil {
		return nil, err
	}
	addCost(m.values, before, after, m.generators, m.bytes, len(f.forwarders) > 0)
	return m.values, f.proveLanes(ctx, lanes, m)
}

// own runs a scenario with weft's own generators: the sink first, the source when it is ready.
func (b *bench) own(ctx context.Context, f *fabric, s scenario) (measured, error) {
	job := s.job(f.mtu)
	job.Warmup, job.Duration = b.options.Warmup, b.options.Duration
	job.Role, job.Addr = s.sink, netip.AddrPortFrom(f.far.addr, 0)
	sink, err := b.startLoad(ctx, f.far.space, job)
	if err != nil {
		return measured{}, err
	}
	ready := sink.next()
	if ready.Ready == nil {
		return measured{}, fmt.Errorf("%s in %s: %w", job.Role, f.far.space.Name(), sink.failure(ready))
	}
	job.Role, job.Addr = s.source, *ready.Ready
	source, err := b.startLoad(ctx, f.near.space, job)
	if err != nil {
		return measured{}, err
	}
	// The source's line first: a sink that has nothing to say waits for its deadline.
	fromSource, fromSink := source.next(), sink.next()
	if err := errors.Join(source.end(fromSource), sink.end(fromSink)); err != nil {
		return measured{}, err
	}
	return measured{
		values:     s.read(*fromSink.Report, *fromSource.Report),
		bytes:      fromSink.Report.TotalBytes,
		exchanges:  fromSource.Report.Messages + fromSource.Report.Connections,
		generators: source.used() + sink.used(),
	}, nil
}

// A generator is one load process.
type generator struct {
	job    load.Job
	cmd    *netlab.Cmd
	lines  *json.Decoder
	stderr bytes.Buffer
}

// startLoad starts a load process in a namespace. It dies with ctx at the latest; measure ends its
// own ctx on every way out, so a failed source never leaves its sink listening.
func (b *bench) startLoad(ctx context.Context, space *netlab.Namespace, job load.Job) (*generator, error) {
	text, err := json.Marshal(job)
	if err != nil {
		return nil, fmt.Errorf("encoding a load job: %w", err)
	}
	g := &generator{job: job, cmd: space.Command(ctx, b.options.Weft, loadCommand, string(text))}
	g.cmd.Stderr, g.cmd.WaitDelay = &g.stderr, time.Second
	stdout, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", job.Role, err)
	}
	if err := g.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", job.Role, err)
	}
	g.lines = json.NewDecoder(stdout)
	return g, nil
}

// next reads the process's next line. A process that ends without one gives a line with an error.
func (g *generator) next() load.Line {
	var line load.Line
	if err := g.lines.Decode(&line); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it ended without a report")
		}
		line.Error = err.Error()
	}
	return line
}

// end waits for the process and says whether its last line was a report.
func (g *generator) end(last load.Line) error {
	waited := g.cmd.Wait()
	if last.Report != nil && waited == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", g.job.Role, errors.Join(g.failure(last), waited))
}

// failure is what the process said about its end, on both of its outputs.
func (g *generator) failure(last load.Line) error {
	return fmt.Errorf("%s %s", last.Error, bytes.TrimSpace(g.stderr.Bytes()))
}

// used is the CPU time of an ended process, to the microsecond: getrusage, not clock ticks.
func (g *generator) used() time.Duration {
	return g.cmd.ProcessState.UserTime() + g.cmd.ProcessState.SystemTime()
}
