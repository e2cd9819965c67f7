package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"

	"weft/cmd/internal/flags"
	"weft/perf"
	"weft/perf/netlab"
	"weft/perf/report"
)

// benchOptions are what the command line of `weft bench` says.
type benchOptions struct {
	perf                   perf.Options
	quick, goals           bool
	only, subjects, row    string // with commas between several
	json, svg, png         string // files to write
	show, markdown, readme string
	compare                bool
	rounds, underlayMTU    int
	agentFlags             []string
}

// benchWhat is the heading of the flags that choose.
const benchWhat = "what to measure"

func benchCommand() *cli.Command {
	o := benchOptions{perf: perf.Defaults(), row: "both", readme: "README.md"}
	o.underlayMTU = o.perf.UnderlayMTU
	names, _ := perf.Scenarios()
	return &cli.Command{
		Name:  "bench",
		Usage: "measure this machine: weft beside kernel VXLAN and every peer on PATH",
		Description: "Builds a lab of two hosts for every subject, and measures all by turns in one run. Needs root.\n" +
			"It loads this machine's cores for the announced time and sends nothing outside of its labs.\n\n" +
			"weft bench --quick --goals              a glance: three rounds of the main scenarios\n" +
			"weft bench --json a.json --svg a.svg    everything\n" +
			"weft bench --compare a.json b.json      what changed between two runs\n" +
			"weft bench --show a.json --goals        read a run again\n" +
			"weft bench --markdown a.json            put a run's figures into the README",
		ArgsUsage:   "[A.json B.json]   with --compare",
		Subcommands: []*cli.Command{benchLeasesCommand()},
		Flags: concat(
			flags.Group(benchWhat,
				flags.Switch(&o.quick, "quick", "3 rounds of 1 s: one TCP stream, 64-byte packets and latency, GSO row, neither ladder nor mixes"),
				flags.Text(&o.only, "only", "scenarios: some of "+strings.Join(names, ",")+" (default: all)"),
				flags.Text(&o.subjects, "subjects", "some of "+strings.Join(perf.SubjectNames(), ",")+" (default: all)"),
				flags.OneOf(&o.row, []string{"both", report.RowGSO, report.RowSegmented}, "row", "wire: gso passes the underlay, segmented as on a real one, or both"),
				flags.Number(&o.rounds, flags.Range{Min: 0, Max: 1000}, "rounds", "rounds, of which the median counts; 0: 5, or 3 with --quick"),
				&cli.DurationFlag{Name: "duration", Category: benchWhat, Usage: "counted time of one sample", DefaultText: "1.5s, or 1s with --quick", Destination: &o.perf.Duration},
				&cli.DurationFlag{Name: "warmup", Category: benchWhat, Usage: "uncounted time before it", Value: o.perf.Warmup, Destination: &o.perf.Warmup},
			),
			flags.Group("how",
				flags.OneOf(&o.perf.Ends, []string{perf.EndsContainers, perf.EndsHosts}, "ends", "where load runs: containers behind a bridge, or the hosts themselves"),
				flags.OneOf(&o.perf.Load, []string{perf.LoadOwn, perf.LoadIPerf}, "load", "load generators for bulk TCP and UDP: weft's own or iperf3"),
				flags.Text(&o.perf.Congestion, "congestion", "TCP congestion control of the load, such as cubic or bbr (default: this machine's own)"),
				flags.Number(&o.underlayMTU, flags.Range{Min: 1480, Max: 65000}, "underlay-mtu", "MTU between the hosts"),
				flags.Repeated(&o.agentFlags, "agent-flag", "flag for every weft agent, such as --agent-flag=--workers=1"),
			),
			flags.Group("result",
				flags.Text(&o.json, "json", "write the run, with every raw sample, to this file"),
				flags.Text(&o.svg, "svg", "draw a chart into this file"),
				flags.Text(&o.png, "png", "draw a chart into this file"),
				flags.Switch(&o.goals, "goals", "judge the performance goals, ratio asked beside ratio reached"),
				flags.Switch(&o.compare, "compare", "measure nothing; compare two runs"),
				flags.Text(&o.show, "show", "measure nothing; show this run"),
				flags.Text(&o.markdown, "markdown", "measure nothing; put this run's figures into --readme"),
				flags.Text(&o.readme, "readme", "document with the markers "+report.BeginMark+" and "+report.EndMark),
			),
		),
		Action: func(c *cli.Context) error { return o.run(c) },
	}
}

// run measures, or reads what an earlier run left.
func (o *benchOptions) run(c *cli.Context) error {
	if o.compare {
		return compareRuns(c)
	}
	if err := flags.NoArguments(c); err != nil {
		return err
	}
	switch {
	case o.markdown != "":
		return insertFigures(c.App.Writer, o.markdown, o.readme)
	case o.show != "":
		r, err := readRun(o.show)
		if err != nil {
			return err
		}
		return o.publish(c.App.Writer, r)
	}
	options, err := o.measurement(c)
	if err != nil {
		return err
	}
	if err := netlab.Check(); err != nil {
		return fmt.Errorf("weft bench: %w", err)
	}
	result, err := perf.Run(c.Context, options)
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted: the figures above are of the samples until then")
	}
	if result != nil && len(result.Samples) > 0 {
		err = errors.Join(o.publish(c.App.Writer, result), err)
	}
	return err
}

// measurement turns the flags into what perf takes.
func (o *benchOptions) measurement(c *cli.Context) (perf.Options, error) {
	options, given := o.perf, o.perf
	if o.quick {
		options.MakeQuick()
	}
	if c.IsSet("duration") {
		options.Duration = given.Duration
	} else if !o.quick {
		options.Duration = perf.Defaults().Duration
	}
	if o.rounds > 0 {
		options.Rounds = o.rounds
	}
	if c.IsSet("row") {
		options.Rows = []string{o.row}
		if o.row == "both" {
			options.Rows = perf.Defaults().Rows
		}
	}
	options.Scenarios, options.Subjects = list(o.only), list(o.subjects)
	options.UnderlayMTU, options.WeftFlags = o.underlayMTU, o.agentFlags
	options.Commit, options.Progress = builtFrom(), c.App.ErrWriter
	var err error
	if options.Weft, err = os.Executable(); err != nil {
		return options, fmt.Errorf("finding this program, to start it as agent and load generator: %w", err)
	}
	if err := options.Check(); err != nil {
		return options, flags.Usagef(c, "%s", err)
	}
	return options, nil
}

// list splits a flag's value at its commas.
func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// publish prints a run and writes the files that were asked for.
func (o *benchOptions) publish(out io.Writer, r *report.Run) error {
	err := report.WriteTable(out, r)
	if o.goals && err == nil {
		fmt.Fprintln(out)
		err = report.WriteGoals(out, r)
	}
	write := func(file string, content func(io.Writer) error) {
		if file != "" {
			err = errors.Join(err, writeFile(file, content))
		}
	}
	write(o.json, r.Write)
	write(o.svg, func(w io.Writer) error { return report.WriteChart(w, r, report.SVG) })
	write(o.png, func(w io.Writer) error { return report.WriteChart(w, r, report.PNG) })
	return err
}

// writeFile replaces a file once its content is complete, never before.
func writeFile(name string, content func(io.Writer) error) error {
	file, err := renameio.NewPendingFile(name, renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer file.Cleanup()
	if err := content(file); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
