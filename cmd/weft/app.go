package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/flags"
)

// newApp puts the subcommands together. Each has a file of its own, named like it.
func newApp(stdout, stderr io.Writer) *cli.App {
	showVersion := false
	app := &cli.App{
		Name:  "weft",
		Usage: "a layer-3 network fabric for containers",
		Description: "Every host runs `weft agent`, which leases a subnet in etcd and carries packets between the\n" +
			"containers of all hosts. Start with `weft demo`, which shows it on this machine.",
		Writer:          stdout,
		ErrWriter:       stderr,
		HideVersion:     true,
		HideHelpCommand: true,
		Flags:           []cli.Flag{flags.Switch(&showVersion, "version", "print the version and exit")},
		// "," is part of many a regular expression: repeated flags don't split.
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {}, // run decides the exit status
		Action: func(c *cli.Context) error {
			switch {
			case showVersion:
				return printVersion(c)
			case c.NArg() > 0:
				return flags.UnknownCommand(c, c.Args().First())
			default:
				return cli.ShowAppHelp(c)
			}
		},
		Commands: commands(),
	}
	app.OnUsageError = flags.Explain
	explainAll(app.Commands)
	return app
}

// commands lists every subcommand, in the order of the help text.
func commands() []*cli.Command {
	return []*cli.Command{
		agentCommand(),
		demoCommand(),
		benchCommand(),
		benchLoadCommand(),
		benchAgentCommand(),
		etcdCommand(),
		configCommand(),
		leasesCommand(),
		statusCommand(),
		switchCommand(),
		migrateCommand(),
		cleanupCommand(),
		doctorCommand(),
		versionCommand(),
	}
}

// explainAll gives every command what cli keeps per command: errors with a remedy, options from the
// environment, and no topic named "help" beside --help.
func explainAll(commands []*cli.Command) {
	for _, c := range commands {
		c.OnUsageError = flags.Explain
		c.HideHelpCommand = true
		if len(c.Subcommands) > 0 && c.Action == nil {
			c.Action = needSubcommand
		}
		explainAll(c.Subcommands)
	}
}

// needSubcommand answers a command that does nothing by itself.
func needSubcommand(c *cli.Context) error {
	if c.NArg() > 0 {
		return flags.UnknownCommand(c, c.Args().First())
	}
	return cli.ShowSubcommandHelp(c)
}

// gather completes a command line: options from the environment, nothing stray, no contradiction.
func gather(c *cli.Context, check func(given map[string]string) []error) (flags.Given, error) {
	given, err := flags.Environment(c, os.Getenv)
	if err != nil {
		return nil, err
	}
	if err := flags.NoArguments(c); err != nil {
		return nil, err
	}
	if problems := check(given); len(problems) > 0 {
		return nil, allProblems(c, problems)
	}
	return given, nil
}

// allProblems reports contradictions in one line, all of them at once.
func allProblems(c *cli.Context, problems []error) error {
	text := problems[0].Error()
	for _, p := range problems[1:] {
		text += "; " + p.Error()
	}
	return flags.Usagef(c, "%s", text)
}

// environmentHelp closes the help text of commands that read their options from the environment.
func environmentHelp(text string) string {
	return fmt.Sprintf("%s\n\nEvery option can also stand in the environment: WEFT_ or FLANNELD_ and its name in upper case\n"+
		"with _ for -, such as WEFT_ETCD_ENDPOINTS. WEFT_ goes before FLANNELD_, the command line before both.", text)
}

// concat joins groups of flags in the order given.
func concat(groups ...[]cli.Flag) []cli.Flag { return slices.Concat(groups...) }
