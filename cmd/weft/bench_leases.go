package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/flags"
	"weft/cmd/internal/footprint"
	"weft/perf"
	"weft/perf/report"
	"weft/perf/scale"
)

// A leasesBench is one `weft bench leases`: what to simulate, and where the result goes.
type leasesBench struct {
	scale.Options
	json, markdown, chart, profile string // files; "" for none
}

// benchLeasesCommand measures the lease layer: `weft bench leases`.
func benchLeasesCommand() *cli.Command {
	b := &leasesBench{Options: scale.Defaults()}
	return &cli.Command{
		Name:  "leases",
		Usage: "measure how thousands of agents share one etcd",
		Description: "Starts an etcd on loopback and so many agents' lease layers in this process, and measures how long\n" +
			"they take to start, how long a change takes to reach all, and what etcd and an agent pay for it.\n" +
			"It needs no root, loads this machine's cores for some minutes, and removes what it made on every way out.\n\n" +
			"weft bench leases --hosts 200                        a glance\n" +
			"weft bench leases --json scale.json --chart scale.svg   5,000 agents\n" +
			"weft bench leases --endpoints http://192.0.2.1:2379  in an etcd that is there, under a prefix of its own",
		Flags:  b.flags(),
		Action: b.act,
	}
}

func (b *leasesBench) flags() []cli.Flag {
	return concat(
		flags.Group("what to simulate",
			flags.Number(&b.Hosts, flags.Range{Min: 2, Max: scale.MostHosts}, "hosts", "agents that start at once"),
			flags.Number(&b.PerConnection, flags.Range{Min: 1, Max: scale.MostHosts}, "hosts-per-connection", "agents that share one connection to etcd; each has a watch stream of its own on it"),
			flags.Number(&b.Probes, flags.Range{Min: 1, Max: 16}, "probes", "agents in processes of their own, which share nothing"),
			flags.Number(&b.Changes, flags.Range{Min: 3, Max: 10000}, "changes", "changes, by turns a new lease, changed attributes, a release"),
			&cli.DurationFlag{Name: "limit", Category: "what to simulate", Usage: "the most that one phase may take", Value: b.Limit, Destination: &b.Limit},
		),
		flags.Group("etcd",
			flags.URLs(&b.Endpoints, "endpoints", "an etcd that is there; its metrics must be served by the first one (default: one is started)"),
			flags.OneOf(&b.Etcd, []string{scale.EtcdAuto, scale.EtcdPath, scale.EtcdEmbedded}, "etcd", "which one is started: that on PATH, weft's embedded one, or auto"),
		),
		flags.Group("result",
			flags.Text(&b.json, "json", "write the result to this file"),
			flags.Text(&b.markdown, "markdown", "write the result's tables to this file"),
			flags.Text(&b.chart, "chart", "draw a chart into this file, .svg or .png"),
			flags.Text(&b.profile, "cpu-profile", "write where the simulating process spends its time, for go tool pprof, to this file"),
		),
	)
}

func (b *leasesBench) act(c *cli.Context) error {
	if err := b.check(c); err != nil {
		return err
	}
	if b.profile != "" {
		stop, err := profiling(b.profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	r, err := scale.Run(c.Context, b.Options)
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted: nothing is left of it")
	}
	if err != nil {
		return fmt.Errorf("weft bench leases: %w", err)
	}
	return errors.Join(b.write(r, c.App.Writer), r.Failed())
}

// check says what is wrong with the flags, and completes the options by what this machine is.
func (b *leasesBench) check(c *cli.Context) (err error) {
	if err := flags.NoArguments(c); err != nil {
		return err
	}
	if kind := b.picture(); b.chart != "" && kind != report.SVG && kind != report.PNG {
		return flags.Usagef(c, "--chart=%q: want a name that ends in .svg or .png", b.chart)
	}
	if len(b.Endpoints) > 0 && c.IsSet("etcd") {
		return flags.Usagef(c, "--etcd contradicts --endpoints, which names an etcd that is there: drop one of them")
	}
	if b.Weft, err = os.Executable(); err != nil {
		return fmt.Errorf("finding this program, to start it as probe: %w", err)
	}
	if b.Host, err = perf.DescribeHost(); err != nil {
		return err
	}
	b.Host.Commit, b.Progress = builtFrom(), c.App.ErrWriter
	if err := b.Check(); err != nil {
		return flags.Usagef(c, "%s", err)
	}
	return nil
}

// picture is the format of the chart, by the file's name.
func (b *leasesBench) picture() string { return strings.TrimPrefix(filepath.Ext(b.chart), ".") }

// profiling writes a CPU profile into the file until stop.
func profiling(name string) (stop func(), err error) {
	file, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("writing the profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("profiling: %w", err)
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close()
	}, nil
}

// write gives the result out: the table to a person, the rest to files. A file that can't be written
// keeps no other from being.
func (b *leasesBench) write(r *scale.Result, table io.Writer) error {
	err := r.WriteTable(table)
	for _, to := range []struct {
		file    string
		content func(io.Writer) error
	}{
		{b.json, r.Write},
		{b.markdown, r.WriteMarkdown},
		{b.chart, func(w io.Writer) error { return r.WriteChart(w, b.picture()) }},
	} {
		if to.file != "" {
			err = errors.Join(err, writeFile(to.file, to.content))
		}
	}
	return err
}

// benchAgentCommand is one probe: `weft bench leases` starts it. It is no part of what people use, so
// it is hidden.
func benchAgentCommand() *cli.Command {
	return &cli.Command{
		Name:      scale.ProbeCommand,
		Usage:     "be one agent of weft bench leases until standard input ends",
		ArgsUsage: "JOB",
		Hidden:    true,
		Action: func(c *cli.Context) error {
			var job scale.Job
			if c.NArg() != 1 || json.Unmarshal([]byte(c.Args().First()), &job) != nil {
				return flags.Usagef(c, "give one job as JSON; weft bench leases does it for you")
			}
			footprint.Frugal() // as an agent does
			settler := new(footprint.Settler)
			return scale.Probe(c.Context, job, os.Stdin, c.App.Writer, func(leases int) { settler.Saw(leases) })
		},
	}
}
