package main

import (
	"encoding/json"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/flags"
	"weft/perf/load"
)

// benchLoadCommand is one load generator: `weft bench` starts it inside a lab's namespaces. It is no
// part of what people use, so it is hidden.
func benchLoadCommand() *cli.Command {
	return &cli.Command{
		Name:      "bench-load",
		Usage:     "carry out one load job of weft bench",
		ArgsUsage: "JOB",
		Hidden:    true,
		Action: func(c *cli.Context) error {
			var job load.Job
			if c.NArg() != 1 || json.Unmarshal([]byte(c.Args().First()), &job) != nil {
				return flags.Usagef(c, "give one job as JSON; weft bench does it for you")
			}
			return load.Run(c.Context, job, c.App.Writer)
		},
	}
}
