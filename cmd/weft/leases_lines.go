package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"weft/lease"
)

// changeLines is the display for what is no terminal, and for --json: a line for each change, the
// newest last. The first line says what there was at the start.
type changeLines struct {
	out     io.Writer
	options leasesOptions
	now     func() time.Time

	last  *lease.Snapshot
	away  string // why the store is away, as last told; "" while it isn't
	shown int    // calls of show without any answer so far
}

func newChangeLines(out io.Writer, o leasesOptions) *changeLines {
	return &changeLines{out: out, options: o, now: time.Now}
}

const noAnswer = "no answer from the store so far; still trying"

func (c *changeLines) end() error { return nil }

func (c *changeLines) show(_ context.Context, s *lease.Snapshot, status lease.FollowStatus) error {
	var errs []error
	switch {
	case status.Err != nil && c.away == "":
		c.away = printable(status.Err.Error())
		errs = append(errs, c.tell(lineDocument{Event: "away", Error: status.Err.Error()}, c.away))
	case status.Connected && c.away != "":
		c.away = ""
		errs = append(errs, c.tell(lineDocument{Event: "back", Revision: status.Revision}, "the store answers again"))
	}
	if s == nil {
		// A request takes seconds to fail; whoever waits wants to know sooner that there is no answer.
		if c.shown++; c.shown == 2 && c.away == "" {
			errs = append(errs, c.tell(lineDocument{Event: "away", Error: noAnswer}, noAnswer))
		}
		return errors.Join(errs...)
	}
	if s == c.last {
		return errors.Join(errs...)
	}
	v := newView(s)
	if c.last == nil {
		d := v.document(c.options)
		errs = append(errs, c.tell(lineDocument{Event: "listed", Revision: s.Revision, List: &d}, v.summary()))
	} else {
		for _, change := range changesBetween(c.last, s) {
			errs = append(errs, c.tellChange(v, change))
		}
	}
	c.last = s
	return errors.Join(errs...)
}

// lineDocument is one line of `weft leases --watch --json`.
type lineDocument struct {
	Time     time.Time        `json:"time"`
	Event    string           `json:"event"` // listed, added, changed, removed, problem, solved, config, away or back
	Revision int64            `json:"revision,omitempty"`
	List     *leasesDocument  `json:"list,omitempty"`
	Lease    *leaseDocument   `json:"lease,omitempty"`
	Was      *leaseDocument   `json:"was,omitempty"`
	Problem  *problemDocument `json:"problem,omitempty"`
	What     string           `json:"what,omitempty"`
	Error    string           `json:"error,omitempty"`
}

func (c *changeLines) tellChange(v *view, change change) error {
	if c.options.problems && change.problem == nil {
		return nil
	}
	d := lineDocument{Event: change.event, Revision: v.snapshot.Revision, What: change.what}
	text := change.what
	switch {
	case change.problem != nil:
		p := documentOf(*change.problem)
		d.Problem = &p
		text = fmt.Sprintf("%s %s: %s", printable(p.Key), p.Reason, printable(p.Detail))
		if change.event == "solved" {
			text = fmt.Sprintf("%s %s", printable(p.Key), p.Reason)
		}
	case change.lease != nil:
		l := v.leaseDocument(*change.lease)
		d.Lease = &l
		text = fmt.Sprintf("%s %s", change.lease.Subnets().CIDR(), hostOf(change.lease.Attrs))
		if change.what != "" {
			text += ": " + change.what
		} else if change.lease.Reserved {
			text += " reserved"
		}
	}
	if change.was != nil {
		was := v.leaseDocument(*change.was)
		d.Was = &was
	}
	return c.tell(d, text)
}

func (c *changeLines) tell(d lineDocument, text string) error {
	d.Time = c.now().UTC().Truncate(time.Millisecond)
	if c.options.asJSON {
		return json.NewEncoder(c.out).Encode(d)
	}
	_, err := fmt.Fprintf(c.out, "%s %-7s %s\n", d.Time.Format(time.RFC3339), d.Event, text)
	return err
}
