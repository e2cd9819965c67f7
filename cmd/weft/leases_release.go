package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/agent"
	"weft/cmd/internal/flags"
	"weft/lease"
	"weft/lease/etcd"
)

func leasesReleaseCommand() *cli.Command {
	store := agent.Defaults().Store
	force := false
	return &cli.Command{
		Name:      "release",
		Usage:     "remove a reservation, a broken record, or (--force) the lease of a host",
		ArgsUsage: "SUBNET | KEY",
		Description: environmentHelp("Removes the record of a subnet, or the one with that whole key, as weft leases --problems shows it. A lease\n" +
			"expires by itself a day after its host has gone. --force ends one at once: if its agent runs, it leases\n" +
			"again, and the same subnet if that is still free. To move a host, reserve another subnet for it by force."),
		Flags: concat([]cli.Flag{
			flags.Switch(&force, "force", "also end a lease that a host may be using"),
		}, etcdFlags(&store)),
		Action: func(c *cli.Context) error {
			return withArguments(c, store.Check, func(words []string) error {
				if len(words) == 0 {
					return flags.Usagef(c, "the subnet is missing: write it as 10.5.7.0/24, or give the record's whole key")
				}
				target, err := recordNamed(words)
				if err != nil {
					return flags.Usagef(c, "%s", err)
				}
				return withEtcd(c, store, func(ctx context.Context, s *etcd.Store) error {
					text, err := release(ctx, s, target, force)
					if err != nil {
						return err
					}
					_, err = fmt.Fprintln(c.App.Writer, text)
					return err
				})
			})
		},
	}
}

// A recordName says which record is meant: by its whole key, or by what it holds.
type recordName struct {
	key     string
	subnets lease.Subnets
}

// recordNamed reads it. A whole key begins with a slash, as no subnet does.
func recordNamed(words []string) (recordName, error) {
	if strings.HasPrefix(words[0], "/") {
		if len(words) > 1 {
			return recordName{}, fmt.Errorf("stray argument %q: give one key, in quotes if need be", words[1])
		}
		return recordName{key: words[0]}, nil
	}
	subnets, err := subnetWords(words)
	return recordName{subnets: subnets}, err
}

func (n recordName) String() string {
	if n.key != "" {
		return printable(n.key)
	}
	return n.subnets.CIDR()
}

// matches: one subnet of a dual-stack lease is enough.
func (n recordName) matches(r etcd.Record) bool {
	if n.key != "" {
		return r.Key == n.key
	}
	v4 := n.subnets.V4.IsValid() && r.Named.V4 == n.subnets.V4
	v6 := n.subnets.V6.IsValid() && r.Named.V6 == n.subnets.V6
	if n.subnets.V4.IsValid() && n.subnets.V6.IsValid() {
		return v4 && v6
	}
	return v4 || v6
}

// in finds the one record that is meant.
func (n recordName) in(records []etcd.Record) (etcd.Record, error) {
	var found []etcd.Record
	var keys []string
	for _, r := range records {
		if n.matches(r) {
			found, keys = append(found, r), append(keys, printable(r.Key))
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return etcd.Record{}, fmt.Errorf("%s is in %d records: name one by its key: %s", n, len(found), strings.Join(keys, ", "))
	}
	near := func(r etcd.Record) bool {
		return overlap(r.Named.V4, n.subnets.V4) || overlap(r.Named.V6, n.subnets.V6)
	}
	if i := slices.IndexFunc(records, near); i >= 0 {
		return etcd.Record{}, fmt.Errorf("there is no record of %s, but one of %s: name that", n, records[i].Named.CIDR())
	}
	return etcd.Record{}, fmt.Errorf("there is no record of %s: weft leases lists them, weft leases --problems those that hosts skip", n)
}

func overlap(a, b netip.Prefix) bool { return a.IsValid() && b.IsValid() && a.Overlaps(b) }

// releaseTries bounds the looks at a record that keeps changing.
const releaseTries = 5

// release removes the record as it was seen, so that what changed meanwhile is judged anew, and
// returns what to tell the operator.
func release(ctx context.Context, s *etcd.Store, target recordName, force bool) (string, error) {
	for try := 1; ; try++ {
		listing, err := s.Look(ctx)
		if err != nil {
			return "", err
		}
		r, err := target.in(listing.Records)
		if err != nil {
			return "", fmt.Errorf("releasing %s: %w", target, err)
		}
		if r.ID != 0 && !force {
			return "", refuseRelease(ctx, s, r)
		}
		err = s.Remove(ctx, r)
		if errors.Is(err, etcd.ErrChanged) && try < releaseTries {
			continue
		}
		if err != nil {
			return "", err
		}
		return released(r, problemAt(listing.Snapshot, r.Key)), nil
	}
}

// released says what is gone, and what follows from that.
func released(r etcd.Record, p *lease.Problem) string {
	switch {
	case p != nil:
		return fmt.Sprintf("removed %s, which hosts skipped (%s)", printable(r.Key), p.Reason)
	case r.ID == 0:
		return fmt.Sprintf("%s is no longer reserved for %s. If its agent runs, it leases again at once: the same "+
			"subnet where that is free", r.Named.CIDR(), hostOf(r.Lease.Attrs))
	default:
		return fmt.Sprintf("%s loses %s. %s", hostOf(r.Lease.Attrs), r.Named.CIDR(), afterLoss)
	}
}

// refuseRelease says whose lease it is and for how long.
func refuseRelease(ctx context.Context, s *etcd.Store, r etcd.Record) error {
	left := ""
	// The refusal stands without it.
	if d, err := s.Details(ctx, r.Key); err == nil && !d.Expiry.IsZero() {
		left = ", for another " + untilNow(d.Expiry)
	}
	if r.Fault != nil {
		return fmt.Errorf("releasing %s: the record hangs on a lease%s, so that a host may hold it: --force removes it all the same",
			printable(r.Key), left)
	}
	return fmt.Errorf("releasing %s: %s leases it%s: --force ends the lease, and if its agent runs it leases again, "+
		"the same subnet where that is free; containers there may lose their connections",
		r.Named.CIDR(), hostOf(r.Lease.Attrs), left)
}
