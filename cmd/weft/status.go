package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/admin"
	"weft/cmd/internal/agent"
	"weft/cmd/internal/flags"
)

func statusCommand() *cli.Command {
	socket := agent.Defaults().AdminSocket
	asJSON := false
	return &cli.Command{
		Name:        "status",
		Usage:       "show the state of this host's agent",
		Description: environmentHelp("Asks the agent through its admin socket. Exits 1 if none answers."),
		Flags: []cli.Flag{
			flags.Path(&socket, "admin-socket", "the agent's unix socket"),
			flags.Switch(&asJSON, "json", "print JSON, as the agent serves it"),
		},
		Action: func(c *cli.Context) error {
			if _, err := gather(c, noCheck); err != nil {
				return err
			}
			state, body, err := admin.Ask(c.Context, socket)
			if err != nil {
				return err
			}
			if asJSON {
				_, err := c.App.Writer.Write(body)
				return err
			}
			return state.Table(c.App.Writer, time.Now())
		},
	}
}

// noCheck is for commands whose flags can't contradict each other.
func noCheck(map[string]string) []error { return nil }
