package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/agent"
	"weft/cmd/internal/flags"
	"weft/lease"
	"weft/lease/etcd"
)

// leasesOptions is what `weft leases` is told.
type leasesOptions struct {
	watch, asJSON, problems bool
}

func leasesCommand() *cli.Command {
	store := agent.Defaults().Store
	var o leasesOptions
	return &cli.Command{
		Name:  "leases",
		Usage: "show which host has which subnet; reserve and release subnets",
		Description: environmentHelp("Lists the leases that hosts heed, read from etcd; no agent is needed. EXPIRES IN is what is left of a\n" +
			"lease, RENEWED how long ago it last got its whole time (etcd keeps no times of day). --problems lists the\n" +
			"records that every host skips. --watch keeps the list up to date; where standard output is no terminal it\n" +
			"prints a line for each change instead, and with --json each line is a JSON document."),
		Flags: concat([]cli.Flag{
			flags.Switch(&o.watch, "watch", "keep showing, until Ctrl-C"),
			flags.Switch(&o.asJSON, "json", "print JSON"),
			flags.Switch(&o.problems, "problems", "show the records that hosts skip, why, and what to do"),
		}, etcdFlags(&store)),
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return flags.UnknownCommand(c, c.Args().First())
			}
			if _, err := gather(c, store.Check); err != nil {
				return err
			}
			return withEtcd(c, store, func(ctx context.Context, s *etcd.Store) error {
				if o.watch {
					return watchLeases(ctx, c.App.Writer, s, o)
				}
				return listLeases(ctx, c.App.Writer, s, o)
			})
		},
		Subcommands: []*cli.Command{
			leasesReserveCommand(),
			leasesReleaseCommand(),
			leasesShowCommand(),
		},
	}
}

// listLeases prints the present state once.
func listLeases(ctx context.Context, out io.Writer, s *etcd.Store, o leasesOptions) error {
	listing, err := s.Look(ctx)
	if err != nil {
		return err
	}
	v := newView(listing.Snapshot)
	if !o.problems {
		timings, err := s.Timings(ctx, v.snapshot.Leases)
		if err != nil {
			return err
		}
		v.know(timings)
	}
	if o.asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(v.document(o))
	}
	for _, line := range v.lines(o) {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}

// A view is one snapshot with what a person wants to know beside it.
type view struct {
	snapshot *lease.Snapshot
	timings  map[string]etcd.Timing // by token
	local    map[netip.Addr]bool    // this machine's addresses
	now      time.Time
}

func newView(s *lease.Snapshot) *view {
	return &view{snapshot: s, timings: map[string]etcd.Timing{}, local: localAddresses(), now: time.Now()}
}

// know adds the timings of the snapshot's leases, in their order.
func (v *view) know(timings []etcd.Timing) {
	for i, t := range timings {
		v.timings[v.snapshot.Leases[i].Token] = t
	}
}

// lines is the whole text: the table, a blank line, the summary.
func (v *view) lines(o leasesOptions) []string {
	t := v.table(o)
	lines := t.lines()
	if len(t.rows) == 0 {
		lines = []string{t.empty}
	}
	return append(lines, "", v.summary())
}

func (v *view) table(o leasesOptions) table {
	if o.problems {
		return v.problemTable()
	}
	return v.leaseTable(v.snapshot.Leases)
}

// here reports whether the lease is of an agent on this machine. Behind NAT, where the public address
// is no interface's, nobody can tell.
func (v *view) here(a lease.Attrs) bool { return v.local[a.PublicIP] || v.local[a.PublicIPv6] }

// localAddresses is best effort: without it, no row is marked.
func localAddresses() map[netip.Addr]bool {
	local := map[netip.Addr]bool{}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return local
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			local[p.Addr().Unmap()] = true
		}
	}
	delete(local, netip.Addr{})
	return local
}

// summary counts what there is, in one line.
func (v *view) summary() string {
	s := v.snapshot
	reserved, used := 0, uint64(0)
	for _, l := range s.Leases {
		if l.Reserved {
			reserved++
		}
		if s.ConfigErr == nil && s.Config.Fits(l.Subnets()) {
			used++
		}
	}
	text := fmt.Sprintf("%s, %s, %s", plural(len(s.Leases)-reserved, "lease"),
		plural(reserved, "reservation"), plural(len(s.Problems), "problem"))
	if len(s.Problems) > 0 {
		text += " (weft leases --problems)"
	}
	switch {
	case errors.Is(s.ConfigErr, lease.ErrNoConfig):
		return text + "; no network config: write one with weft config set"
	case s.ConfigErr != nil:
		return text + "; the network config can't be used: " + printable(s.ConfigErr.Error())
	}
	return fmt.Sprintf("%s; %d of %s used", text, used, subnetsOf(s.Config))
}
