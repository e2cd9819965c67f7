package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/admin"
	"weft/cmd/internal/agent"
	"weft/cmd/internal/flags"
)

// switchable are the datapaths that a running agent can be asked for.
var switchable = []string{"userspace", "express", "kernel", "auto"}

func switchCommand() *cli.Command {
	socket := agent.Defaults().AdminSocket
	return &cli.Command{
		Name:      "switch",
		Usage:     "move this host's packets to another datapath, while they flow",
		ArgsUsage: strings.Join(switchable, " | "),
		Description: environmentHelp("Asks the running agent to forward in user space, to let the kernel do it, to have eBPF programs carry the\n" +
			"common packets in front of user space (express), or to choose by itself (auto). Lease, MAC address, port\n" +
			"and MTU stay: peers notice nothing. The agent asks its peers through the fabric before and after, and goes\n" +
			"back by itself if one of them doesn't answer any more; the exit status is then 1. The choice holds until the agent ends: a restarted one goes by\n" +
			"its --datapath again."),
		Flags: []cli.Flag{flags.Path(&socket, "admin-socket", "the agent's unix socket")},
		Action: func(c *cli.Context) error {
			return withArguments(c, noCheck, func(words []string) error {
				wish, err := datapathNamed(words)
				if err != nil {
					return flags.Usagef(c, "%s", err)
				}
				result, err := admin.RequestSwitch(c.Context, socket, admin.Switch{Datapath: wish})
				if err != nil {
					return err
				}
				text, err := switched(wish, result)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(c.App.Writer, text)
				return err
			})
		},
	}
}

// datapathNamed reads the one argument.
func datapathNamed(words []string) (string, error) {
	choices := strings.Join(switchable[:len(switchable)-1], ", ") + " or " + switchable[len(switchable)-1]
	switch {
	case len(words) == 0:
		return "", errors.New("the datapath is missing: give " + choices)
	case len(words) > 1:
		return "", fmt.Errorf("stray argument %q: give one of %s", words[1], choices)
	case !slices.Contains(switchable, words[0]):
		return "", fmt.Errorf("datapath %q is none that weft knows: give %s", words[0], choices)
	}
	return words[0], nil
}

// switched says what became of the wish; the error is the sentence for one that wasn't granted.
func switched(wish string, r admin.Switched) (string, error) {
	took := r.Took.Round(time.Millisecond)
	switch {
	case r.Error != "" && r.Datapath == "":
		return "", fmt.Errorf("switching to %s: %s", wish, r.Error)
	case r.Error != "":
		return "", fmt.Errorf("switching to %s: %s; packets go through %s, as before (after %v)", wish, r.Error, r.Datapath, took)
	case r.Why == "":
		return fmt.Sprintf("datapath %s, after %v", r.Datapath, took), nil
	default:
		return fmt.Sprintf("datapath %s, after %v: %s", r.Datapath, took, r.Why), nil
	}
}
