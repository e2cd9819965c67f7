package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/agent"
	"weft/cmd/internal/flags"
	"weft/lease"
	"weft/lease/etcd"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "write, show or check the network config",
		Subcommands: []*cli.Command{
			configSetCommand(),
			configGetCommand(),
			configCheckCommand(),
			configHistoryCommand(),
		},
	}
}

// document is what set and check take as their argument.
const document = "FILE | - | JSON"

func configSetCommand() *cli.Command {
	store := agent.Defaults().Store
	return &cli.Command{
		Name:      "set",
		Usage:     "check a network config and write it to etcd",
		ArgsUsage: document,
		Description: environmentHelp(`weft config set '{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}'` +
			"\nwrites the config given there, in a file, or (-) on standard input. Agents that wait for it start."),
		Flags: etcdFlags(&store),
		Action: func(c *cli.Context) error {
			return withDocument(c, store.Check, func(raw []byte, config lease.Config) error {
				err := withEtcd(c, store, func(ctx context.Context, s *etcd.Store) error { return s.SetConfig(ctx, raw) })
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.App.Writer, "written to %s: %s\n", configKey(store), summary(config))
				return err
			})
		},
	}
}

func configGetCommand() *cli.Command {
	store := agent.Defaults().Store
	revision := 0
	return &cli.Command{
		Name:        "get",
		Usage:       "print the network config that is in etcd",
		Description: environmentHelp("Prints the document as it is stored. Exits 1 if there is none."),
		Flags: concat([]cli.Flag{
			flags.Number(&revision, flags.Range{Min: 0, Max: math.MaxInt}, "revision", "the config in force at that revision of etcd; 0: the present one"),
		}, etcdFlags(&store)),
		Action: func(c *cli.Context) error {
			if _, err := gather(c, store.Check); err != nil {
				return err
			}
			return withEtcd(c, store, func(ctx context.Context, s *etcd.Store) error {
				config, err := s.ConfigAt(ctx, int64(revision))
				switch {
				case errors.Is(err, lease.ErrNoConfig) && revision == 0:
					return noConfig(store)
				case errors.Is(err, etcd.ErrCompacted), errors.Is(err, etcd.ErrFuture), errors.Is(err, lease.ErrNoConfig):
					return fmt.Errorf("%w: weft config history lists those there are", err)
				case err != nil:
					return err
				}
				_, err = fmt.Fprintln(c.App.Writer, strings.TrimRight(string(config.Raw), "\n"))
				return err
			})
		},
	}
}

// noConfig says where it was looked for, and how to write one.
func noConfig(store agent.StoreOptions) error {
	return fmt.Errorf("no network config at %s: write one with: weft config set '%s'", configKey(store), exampleConfig)
}

func configCheckCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "find everything that is wrong with a network config, without writing it",
		ArgsUsage: document,
		Description: "Checks the document given there, in a file, or (-) on standard input by flannel's rules.\n" +
			"Prints each problem on a line of its own, with its remedy, and exits 1 if there is any.",
		Action: func(c *cli.Context) error {
			return withDocument(c, noCheck, func(_ []byte, config lease.Config) error {
				_, err := fmt.Fprintln(c.App.Writer, "ok: "+summary(config))
				return err
			})
		},
	}
}

const exampleConfig = `{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}`

// withDocument reads the one argument, checks it, and hands it on.
func withDocument(c *cli.Context, check func(map[string]string) []error, use func([]byte, lease.Config) error) error {
	if err := oneArgument(c); err != nil {
		return err
	}
	given, err := flags.Environment(c, os.Getenv)
	if err != nil {
		return err
	}
	if problems := check(given); len(problems) > 0 {
		return allProblems(c, problems)
	}
	raw, err := readDocument(c.Args().First(), c.App.Reader)
	if err != nil {
		return err
	}
	config, err := lease.ParseConfig(raw)
	if err != nil {
		return err
	}
	return use(raw, config)
}

// oneArgument refuses none, and more than one; flags behind the document are the usual reason.
func oneArgument(c *cli.Context) error {
	switch n := c.NArg(); {
	case n == 0:
		return flags.Usagef(c, "the config is missing: give a FILE, - for standard input, or JSON such as '%s'", exampleConfig)
	case n > 1:
		return flags.Usagef(c, "stray argument %q: give one config, behind all flags, in quotes if it is JSON", c.Args().Get(1))
	}
	return nil
}

// maxDocument bounds what is read: etcd takes no request above 1.5 MiB, and a config has some hundred bytes.
const maxDocument = 1 << 20

// readDocument takes JSON as it stands, "-" as standard input, and anything else as a file's name.
func readDocument(arg string, stdin io.Reader) ([]byte, error) {
	switch {
	case strings.HasPrefix(strings.TrimSpace(arg), "{"):
		return []byte(arg), nil
	case arg == "-":
		raw, err := io.ReadAll(io.LimitReader(stdin, maxDocument+1))
		return bounded("standard input", raw, err)
	}
	f, err := os.Open(arg)
	if err != nil {
		return nil, fmt.Errorf("reading network config: %w: give a FILE, - for standard input, or JSON that begins with {", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	return bounded(arg, raw, err)
}

func bounded(name string, raw []byte, err error) ([]byte, error) {
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading network config from %s: %w", name, err)
	case len(raw) > maxDocument:
		return nil, fmt.Errorf("network config in %s: longer than %d bytes, which etcd refuses", name, maxDocument)
	}
	return raw, nil
}

// withEtcd opens the store for one action and closes it.
func withEtcd(c *cli.Context, o agent.StoreOptions, use func(context.Context, *etcd.Store) error) error {
	s, err := o.Open(nil)
	if err != nil {
		return err
	}
	defer s.Close()
	return use(c.Context, s)
}

func configKey(o agent.StoreOptions) string { return strings.TrimSuffix(o.Prefix, "/") + "/config" }

// summary says in one line what a config means, defaults included.
func summary(c lease.Config) string {
	var parts []string
	if c.EnableIPv4 {
		parts = append(parts, fmt.Sprintf("%s in /%d subnets from %s to %s", c.Network, c.SubnetLen, c.SubnetMin, c.SubnetMax))
	}
	if c.EnableIPv6 {
		parts = append(parts, fmt.Sprintf("%s in /%d subnets from %s to %s", c.IPv6Network, c.IPv6SubnetLen, c.IPv6SubnetMin, c.IPv6SubnetMax))
	}
	text := strings.Join(parts, ", ") + ", backend type " + c.BackendType
	if c.Options.Port != 0 {
		text += fmt.Sprintf(", port %d", c.Options.Port)
	}
	if m := c.Migration; m != nil {
		text += fmt.Sprintf(", on its way to %s with %d hosts moved", m.To.BackendType, len(m.Hosts))
	}
	return text
}
