package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/agent"
	"weft/cmd/internal/flags"
	"weft/lease"
	"weft/lease/etcd"
)

func leasesShowCommand() *cli.Command {
	store := agent.Defaults().Store
	asJSON := false
	return &cli.Command{
		Name:      "show",
		Usage:     "show everything about one lease",
		ArgsUsage: "SUBNET | IP | KEY",
		Description: environmentHelp("Finds the lease of a subnet, that which has an address (a container's) in its subnet, and those of the\n" +
			"host with a public address; also among the records that hosts skip."),
		Flags: concat([]cli.Flag{flags.Switch(&asJSON, "json", "print JSON, one document for each record")}, etcdFlags(&store)),
		Action: func(c *cli.Context) error {
			return withArguments(c, store.Check, func(words []string) error {
				q, err := questionOf(words)
				if err != nil {
					return flags.Usagef(c, "%s", err)
				}
				return withEtcd(c, store, func(ctx context.Context, s *etcd.Store) error {
					return showLeases(ctx, c.App.Writer, s, q, asJSON)
				})
			})
		},
	}
}

// A question is which records are to be shown: those with an address, or the named one.
type question struct {
	addr netip.Addr
	name recordName
}

func questionOf(words []string) (question, error) {
	if len(words) == 0 {
		return question{}, errors.New("of what? Give a subnet such as 10.5.7.0/24, an address in it, or a host's public address")
	}
	if addr, err := netip.ParseAddr(words[0]); err == nil && len(words) == 1 {
		return question{addr: addr.Unmap()}, nil
	}
	name, err := recordNamed(words)
	return question{name: name}, err
}

// answers picks the records, those that count before those that are skipped.
func (q question) answers(listing etcd.Listing) ([]etcd.Record, error) {
	if !q.addr.IsValid() {
		r, err := q.name.in(listing.Records)
		return []etcd.Record{r}, err
	}
	var found []etcd.Record
	for _, r := range listing.Records {
		a := r.Lease.Attrs
		if r.Named.V4.Contains(q.addr) || r.Named.V6.Contains(q.addr) || a.PublicIP == q.addr || a.PublicIPv6 == q.addr {
			found = append(found, r)
		}
	}
	if len(found) == 0 {
		return nil, q.nothing(listing.Snapshot)
	}
	slices.SortStableFunc(found, func(a, b etcd.Record) int {
		return boolRank(problemAt(listing.Snapshot, a.Key) != nil) - boolRank(problemAt(listing.Snapshot, b.Key) != nil)
	})
	return found, nil
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// nothing says why there is no answer: an address in a free subnet is another thing than a stranger's.
func (q question) nothing(s *lease.Snapshot) error {
	for _, f := range []struct {
		network netip.Prefix
		bits    int
	}{{s.Config.Network, s.Config.SubnetLen}, {s.Config.IPv6Network, s.Config.IPv6SubnetLen}} {
		if s.ConfigErr == nil && f.network.Contains(q.addr) {
			return fmt.Errorf("%s is in no lease: no host has %s", q.addr, netip.PrefixFrom(q.addr, f.bits).Masked())
		}
	}
	return fmt.Errorf("%s is in no lease, and no host's public address: weft leases lists all", q.addr)
}

func problemAt(s *lease.Snapshot, key string) *lease.Problem {
	i := slices.IndexFunc(s.Problems, func(p lease.Problem) bool { return p.Key == key })
	if i < 0 {
		return nil
	}
	return &s.Problems[i]
}

func showLeases(ctx context.Context, out io.Writer, s *etcd.Store, q question, asJSON bool) error {
	listing, err := s.Look(ctx)
	if err != nil {
		return err
	}
	found, err := q.answers(listing)
	if err != nil {
		return err
	}
	v := newView(listing.Snapshot)
	for i, r := range found {
		d, err := s.Details(ctx, r.Key)
		if errors.Is(err, etcd.ErrChanged) {
			return fmt.Errorf("%s has gone just now", printable(r.Key))
		}
		if err != nil {
			return err
		}
		one := shown{view: v, record: r, details: d, problem: problemAt(listing.Snapshot, r.Key)}
		if asJSON {
			err = one.json(out)
		} else {
			err = one.text(out, i > 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// shown is one record with everything there is to say about it.
type shown struct {
	*view
	record  etcd.Record
	details etcd.Details
	problem *lease.Problem
}

// text prints a row for each thing, the most wanted first.
func (s shown) text(out io.Writer, blank bool) error {
	tw := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	if blank {
		fmt.Fprintln(tw)
	}
	row := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	l, d := s.record.Lease, s.details
	if s.record.Named != (lease.Subnets{}) {
		row("subnet", "%s", s.record.Named.CIDR())
	}
	if s.problem != nil {
		row("skipped", "%s: %s", s.problem.Reason, printable(s.problem.Detail))
		row("to remove it", "%s", remedyOf(*s.problem))
	}
	if s.record.Fault == nil {
		here := ""
		if s.here(l.Attrs) {
			here = ", this host"
		}
		row("host", "%s%s", hostOf(l.Attrs), here)
		if backend := backendOf(l, s.snapshot.Config); backend != "" {
			row("backend", "%s", clipped(backend))
		}
		if weft := weftText(l.Attrs); weft != "" {
			row("weft", "%s", weft)
		}
	}
	row("lasts", "%s", s.lasts())
	row("key", "%s", printable(s.record.Key))
	row("written", "%s, first at revision %d, last at %d", times(d.Written), d.Created, d.Revision)
	row("value", "%s", printable(string(d.Value)))
	return tw.Flush()
}

func (s shown) lasts() string {
	d := s.details
	switch {
	case d.ID == 0 && s.problem != nil:
		return "until it is removed: it hangs on no etcd lease"
	case d.ID == 0:
		return "for good: a reservation"
	case d.Expiry.IsZero():
		return "its time has just ended"
	}
	return fmt.Sprintf("another %s of %s, renewed %s ago (etcd lease %x)",
		spell(d.Expiry.Sub(s.now)), spell(d.Granted), spell(s.now.Sub(d.Renewed)), d.ID)
}

func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func untilNow(t time.Time) string { return spell(time.Until(t)) }

// json prints the lease as the list has it, and what only etcd knows.
func (s shown) json(out io.Writer) error {
	l := s.record.Lease
	l.Subnet, l.Subnet6 = s.record.Named.V4, s.record.Named.V6 // also where the value is broken
	s.timings[l.Token] = s.details.Timing
	d := struct {
		leaseDocument
		Key     string           `json:"key"`
		Value   string           `json:"value"`
		Created int64            `json:"createdRevision"`
		Written int64            `json:"written"` // how often
		EtcdID  string           `json:"etcdLease,omitempty"`
		Granted int64            `json:"grantedSeconds,omitempty"`
		Problem *problemDocument `json:"problem,omitempty"`
	}{
		leaseDocument: s.leaseDocument(l), Key: s.record.Key, Value: strings.ToValidUTF8(string(s.details.Value), "\uFFFD"),
		Created: s.details.Created, Written: s.details.Written, Granted: int64(s.details.Granted / time.Second),
	}
	d.Reserved, d.Revision = s.details.ID == 0, s.details.Revision
	if s.details.ID != 0 {
		d.EtcdID = fmt.Sprintf("%x", s.details.ID)
	}
	if s.problem != nil {
		p := documentOf(*s.problem)
		d.Problem = &p
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(d)
}
