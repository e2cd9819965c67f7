package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/demo"
	"weft/cmd/internal/flags"
)

func demoCommand() *cli.Command {
	options := demo.Options{Hosts: 3}
	try, end := false, false
	return &cli.Command{
		Name:      "demo",
		Usage:     "show a whole fabric on this machine: hosts, agents, containers, every pair tried",
		ArgsUsage: "[LAB...]   with --try and --end",
		Description: "Builds hosts as network namespaces, starts `weft etcd` and one `weft agent` per host, adds a\n" +
			"container to each, pings and transfers TCP between all of them, and removes everything again.\n" +
			"Exits 0 only if every pair worked. Needs root and /dev/net/tun; Ctrl-C leaves nothing behind.",
		Flags: []cli.Flag{
			flags.Number(&options.Hosts, flags.Range{Min: demo.MinHosts, Max: demo.MaxHosts}, "hosts", "how many hosts"),
			flags.Switch(&options.Keep, "keep", "leave it running, and print what to try"),
			flags.Switch(&try, "try", "try every pair of the demos that were kept, or of those named"),
			flags.Switch(&end, "end", "remove the demos that were kept, or those named"),
		},
		Action: func(c *cli.Context) error {
			if chosen := names(map[string]bool{"--keep": options.Keep, "--try": try, "--end": end}); len(chosen) > 1 {
				return flags.Usagef(c, "%s: give one of them", strings.Join(chosen, " and "))
			}
			switch {
			case end:
				return demo.End(c.App.Writer, c.Args().Slice()...)
			case try:
				return demo.Try(c.Context, c.App.Writer, c.Args().Slice()...)
			}
			if err := flags.NoArguments(c); err != nil {
				return err
			}
			program, err := os.Executable()
			if err != nil {
				return fmt.Errorf("finding this program, to start it as etcd and agent: %w", err)
			}
			options.Program = program
			return demo.Run(c.Context, options, c.App.Writer)
		},
	}
}

// names lists the switches that are on, in alphabetical order.
func names(switches map[string]bool) (on []string) {
	for name, given := range switches {
		if given {
			on = append(on, name)
		}
	}
	slices.Sort(on)
	return on
}
