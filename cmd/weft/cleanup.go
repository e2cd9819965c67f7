package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/agent"
	"weft/cmd/internal/flags"
)

func cleanupCommand() *cli.Command {
	options := agent.Defaults()
	return &cli.Command{
		Name:  "cleanup",
		Usage: "remove what an agent that has ended left on this host",
		Description: environmentHelp("The kernel's datapath goes on when its agent ends, and so does the express lane. This removes them: tunnel\n" +
			"devices that weft made, the lane's programs and its TUN device, routes that carry weft's label, subnet.env,\n" +
			"and what the agent keeps between two runs, but for an embedded etcd's data.\n" +
			"The lease stays until it expires: `weft leases release` gives it back. Nothing is touched while an agent runs."),
		Flags: []cli.Flag{
			flags.Path(&options.StateDir, "state-dir", "what the agent keeps between two runs"),
			flags.Path(&options.SubnetFile, "subnet-file", "where the leased subnet is written for Docker and CNI"),
			flags.Text(&options.TUNName, "tun-name", "device of the userspace datapath"),
		},
		Action: func(c *cli.Context) error {
			if _, err := gather(c, noCheck); err != nil {
				return err
			}
			removed, err := agent.Cleanup(options)
			for _, line := range removed {
				fmt.Fprintln(c.App.Writer, "removed", line)
			}
			if err == nil && len(removed) == 0 {
				fmt.Fprintln(c.App.Writer, "nothing of weft's is left here")
			}
			return err
		},
	}
}
