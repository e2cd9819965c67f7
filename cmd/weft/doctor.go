package main

import (
	"encoding/json"
	"errors"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/agent"
	"weft/cmd/internal/doctor"
	"weft/cmd/internal/flags"
	"weft/perf"
)

func doctorCommand() *cli.Command {
	socket := agent.Defaults().AdminSocket
	asJSON := false
	return &cli.Command{
		Name:  "doctor",
		Usage: "find out what this machine lets weft do, and what would have to change to get more",
		Description: environmentHelp("Tries every rung of the offload ladder in a network namespace that ends with the trial, and asks the\n" +
			"running agent, if there is one, which rungs it uses. Exits 1 where an agent couldn't run at all."),
		Flags: []cli.Flag{
			flags.Path(&socket, "admin-socket", "the agent's unix socket"),
			flags.Switch(&asJSON, "json", "print JSON"),
		},
		Action: func(c *cli.Context) error {
			if _, err := gather(c, noCheck); err != nil {
				return err
			}
			reference, err := perf.Reference()
			if err != nil {
				return err
			}
			r := doctor.Examine(c.Context, socket, reference)
			if asJSON {
				encoder := json.NewEncoder(c.App.Writer)
				encoder.SetIndent("", " ")
				err = encoder.Encode(r)
			} else {
				err = r.Table(c.App.Writer)
			}
			if err == nil && !r.Healthy() {
				return errors.New("weft doctor: an agent can't run here until what is marked ✗ is mended")
			}
			return err
		},
	}
}
