package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"weft/lease"
)

// A change is one difference between two snapshots.
type change struct {
	event   string         // added, changed, removed, problem, solved or config
	lease   *lease.Lease   // of the first three
	was     *lease.Lease   // beside changed
	problem *lease.Problem // of problem and solved
	what    string         // what is different, of changed and config
}

// changesBetween compares whole states: however many events lie between them, only what is different
// in the end is told.
func changesBetween(was, is *lease.Snapshot) []change {
	var changes []change
	before := map[lease.Subnets]lease.Lease{}
	for _, l := range was.Leases {
		before[l.Subnets()] = l
	}
	if what := configChange(was, is); what != "" {
		changes = append(changes, change{event: "config", what: what})
	}
	for _, l := range is.Leases {
		old, known := before[l.Subnets()]
		delete(before, l.Subnets())
		switch {
		case !known:
			changes = append(changes, change{event: "added", lease: &l})
		case differs(old, l) != "":
			changes = append(changes, change{event: "changed", lease: &l, was: &old, what: differs(old, l)})
		}
	}
	for _, l := range was.Leases { // in order, unlike the map
		if _, gone := before[l.Subnets()]; gone {
			changes = append(changes, change{event: "removed", lease: &l})
		}
	}
	return append(changes, problemChanges(was.Problems, is.Problems)...)
}

func problemChanges(was, is []lease.Problem) []change {
	var changes []change
	same := func(a lease.Problem) func(lease.Problem) bool {
		return func(b lease.Problem) bool { return a.Key == b.Key && a.Reason == b.Reason && a.Detail == b.Detail }
	}
	for _, p := range is {
		if !slices.ContainsFunc(was, same(p)) {
			changes = append(changes, change{event: "problem", problem: &p})
		}
	}
	for _, p := range was {
		if !slices.ContainsFunc(is, func(q lease.Problem) bool { return q.Key == p.Key }) {
			changes = append(changes, change{event: "solved", problem: &p})
		}
	}
	return changes
}

// differs says what is different about a lease; "" when nothing is.
func differs(was, is lease.Lease) string {
	var what []string
	field := func(name, a, b string) {
		if a != b {
			what = append(what, fmt.Sprintf("%s %s is now %s", name, orNone(a), orNone(b)))
		}
	}
	field("public IP", addrText(was.Attrs.PublicIP), addrText(is.Attrs.PublicIP))
	field("public IPv6", addrText(was.Attrs.PublicIPv6), addrText(is.Attrs.PublicIPv6))
	field("backend", clipped(was.Attrs.BackendType), clipped(is.Attrs.BackendType))
	field("weft", weftText(was.Attrs), weftText(is.Attrs))
	if weftText(was.Attrs) == weftText(is.Attrs) && !bytes.Equal(was.Attrs.BackendData, is.Attrs.BackendData) ||
		!bytes.Equal(was.Attrs.BackendV6Data, is.Attrs.BackendV6Data) {
		what = append(what, "backend data")
	}
	switch {
	case is.Reserved && !was.Reserved:
		what = append(what, "reserved now")
	case was.Reserved && !is.Reserved:
		what = append(what, "no longer reserved")
	case is.Token != was.Token:
		what = append(what, "leased anew")
	}
	return strings.Join(what, ", ")
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// configChange says in one line what the network config has become; "" when it is the same.
func configChange(was, is *lease.Snapshot) string {
	switch {
	case is.ConfigErr != nil && (was.ConfigErr == nil || was.ConfigErr.Error() != is.ConfigErr.Error()):
		return printable(is.ConfigErr.Error())
	case is.ConfigErr == nil && (was.ConfigErr != nil || !bytes.Equal(was.Config.Raw, is.Config.Raw)):
		return summary(is.Config)
	}
	return ""
}
