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

// benchLeasesCommand measures the lease layer: `weft bench leases`.
func benchLeasesCommand() *cli.Command {
	o := scale.Defaults()
	var jsonFile, markdown, chart, profile string
	return &cli.Command{
		Name:  "leases",
		Usage: "measure how thousands of agents share one etcd",
		Description: "Starts an etcd on loopback and so many agents' lease layers in this process, and measures how long\n" +
			"they take to start, how long a change takes to reach all, and what etcd and an agent pay for it.\n" +
			"It needs no root, loads this machine's cores for some minutes, and removes what it made on every way out.\n\n" +
			"weft bench leases --hosts 200                        a glance\n" +
			"weft bench leases --json scale.json --chart scale.svg   5,000 agents\n" +
			"weft bench leases --endpoints http://192.0.2.1:2379  in an etcd that is there, under a prefix of its own",
		Flags: concat(
			flags.Group("what to simulate",
				flags.Number(&o.Hosts, flags.Range{Min: 2, Max: scale.MostHosts}, "hosts", "agents that start at once"),
				flags.Number(&o.PerConnection, flags.Range{Min: 1, Max: scale.MostHosts}, "hosts-per-connection", "agents that share one connection to etcd; each has a watch stream of its own on it"),
				flags.Number(&o.Probes, flags.Range{Min: 1, Max: 16}, "probes", "agents in processes of their own, which share nothing"),
				flags.Number(&o.Changes, flags.Range{Min: 3, Max: 10000}, "changes", "changes, by turns a new lease, changed attributes, a release"),
				&cli.DurationFlag{Name: "limit", Category: "what to simulate", Usage: "the most that one phase may take", Value: o.Limit, Destination: &o.Limit},
			),
			flags.Group("etcd",
				flags.URLs(&o.Endpoints, "endpoints", "an etcd that is there; its metrics must be served by the first one (default: one is started)"),
				flags.OneOf(&o.Etcd, []string{scale.EtcdAuto, scale.EtcdPath, scale.EtcdEmbedded}, "etcd", "which one is started: that on PATH, weft's embedded one, or auto"),
			),
			flags.Group("result",
				flags.Text(&jsonFile, "json", "write the result to this file"),
				flags.Text(&markdown, "markdown", "write the result's tables to this file"),
				flags.Text(&chart, "chart", "draw a chart into this file, .svg or .png"),
				flags.Text(&profile, "cpu-profile", "write where the simulating process spends its time, for go tool pprof, to this file"),
			),
		),
		Action: func(c *cli.Context) error {
			if err := flags.NoArguments(c); err != nil {
				return err
			}
			picture := strings.TrimPrefix(filepath.Ext(chart), ".")
			if chart != "" && picture != report.SVG && picture != report.PNG {
				return flags.Usagef(c, "--chart=%q: want a name that ends in .svg or .png", chart)
			}
			if len(o.Endpoints) > 0 && c.IsSet("etcd") {
				return flags.Usagef(c, "--etcd contradicts --endpoints, which names an etcd that is there: drop one of them")
			}
			var err error
			if o.Weft, err = os.Executable(); err != nil {
				return fmt.Errorf("finding this program, to start it as probe: %w", err)
			}
			if o.Host, err = perf.DescribeHost(); err != nil {
				return err
			}
			o.Host.Commit, o.Progress = builtFrom(), c.App.ErrWriter
			if err := o.Check(); err != nil {
				return flags.Usagef(c, "%s", err)
			}
			if profile != "" {
				file, err := os.Create(profile)
				if err != nil {
					return fmt.Errorf("writing the profile: %w", err)
				}
				defer file.Close()
				if err := pprof.StartCPUProfile(file); err != nil {
					return fmt.Errorf("profiling: %w", err)
				}
				defer pprof.StopCPUProfile()
			}
			r, err := scale.Run(c.Context, o)
			if errors.Is(err, context.Canceled) {
				err = errors.New("interrupted: nothing is left of it")
			}
			if err != nil {
				return fmt.Errorf("weft bench leases: %w", err)
			}
			err = r.WriteTable(c.App.Writer)
			write := func(file string, content func(io.Writer) error) {
				if file != "" {
					err = errors.Join(err, writeFile(file, content))
				}
			}
			write(jsonFile, r.Write)
			write(markdown, r.WriteMarkdown)
			write(chart, func(w io.Writer) error { return r.WriteChart(w, picture) })
			return errors.Join(err, r.Failed())
		},
	}
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
