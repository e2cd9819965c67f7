package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"weft/cmd/internal/agent"
	"weft/cmd/internal/flags"
	"weft/lease"
	"weft/lease/etcd"
)

// migrateOptions are what an operator wants of weft migrate.
type migrateOptions struct {
	from, to string
	backend  string     // JSON of the type to move to
	host     netip.Addr // only this one; invalid: all
	without  []netip.Addr
	yes      bool
	status   bool
	undo     bool
	socket   string
}

func migrateCommand() *cli.Command {
	o := migrateOptions{socket: agent.Defaults().AdminSocket}
	store := agent.Defaults().Store
	var without []string
	return &cli.Command{
		Name:      "migrate",
		Usage:     "move a running network between udp and vxlan, host by host",
		ArgsUsage: "FROM TO",
		Description: environmentHelp("weft migrate udp vxlan\n" +
			"asks before each step, checks after it, and goes on where an earlier run stopped: how far the network has\n" +
			"come stands in its config. First every host prepares to take both formats, which a plain flannel host\n" +
			"can't and is named for; then one host after the other moves; then the network config says TO alone.\n" +
			"A host that moved and isn't answered through the fabric any more is moved back. That is tried where an\n" +
			"agent runs beside this command; elsewhere the hosts' leases are all that is looked at."),
		Flags: concat([]cli.Flag{
			flags.Switch(&o.yes, "yes", "don't ask before each step"),
			flags.Address(&o.host, 0, "host", "move the host with this address alone (its public one, or one in its subnet)"),
			flags.Switch(&o.status, "status", "show how far the network is, and change nothing"),
			flags.Switch(&o.undo, "undo", "go backwards: from the host that moved last to the network as it was"),
			flags.Repeated(&without, "without", "public address of a host that isn't there any more, or only reserved: not waited for"),
			flags.Text(&o.backend, "backend", `Backend to move to, as JSON (default: {"Type":"TO"})`),
			flags.Path(&o.socket, "admin-socket", "unix socket of this host's agent, if there is one"),
		}, etcdFlags(&store)),
		Action: func(c *cli.Context) error {
			return withArguments(c, store.Check, func(words []string) error {
				if err := o.take(words, without); err != nil {
					return flags.Usagef(c, "%s", err)
				}
				ask := asker(c)
				if !o.yes && !o.status && !o.host.IsValid() && ask == nil {
					return flags.Usagef(c, "there is no terminal to ask on: give --yes, --host ADDRESS or --status")
				}
				return withEtcd(c, store, func(ctx context.Context, s *etcd.Store) error {
					w := walk{migrateOptions: o, store: s, out: c.App.Writer, ask: ask, key: configKey(store)}
					return w.run(ctx)
				})
			})
		},
	}
}

// take reads the arguments and what flags leave to be read.
func (o *migrateOptions) take(words, without []string) error {
	switch {
	case len(words) < 2:
		return errors.New("two backend types are needed: weft migrate udp vxlan")
	case len(words) > 2:
		return fmt.Errorf("stray argument %q: give two backend types", words[2])
	}
	o.from, o.to = words[0], words[1]
	for _, kind := range words {
		if !lease.Migrates(kind) {
			return fmt.Errorf("hosts can't move to or from %q one by one: weft migrate moves networks between udp and vxlan", kind)
		}
	}
	if o.from == o.to {
		return fmt.Errorf("the network can't move from %s to %s: name two types", o.from, o.to)
	}
	if o.backend == "" {
		o.backend = fmt.Sprintf(`{"Type":"%s"}`, o.to)
	}
	for _, text := range without {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("--without %q: want the public address of a host", text)
		}
		o.without = append(o.without, addr)
	}
	return nil
}

// asker asks on the terminal; nil where there is none.
func asker(c *cli.Context) func(ctx context.Context, question string) (answer, error) {
	in, ok := c.App.Reader.(*os.File)
	if !ok {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return askOn(in, c.App.Writer)
}
