package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// summary says in one line where the network is.
func (m migration) summary() string {
	switch {
	case m.under() && m.count() == 0 && len(m.unready()) > 0:
		return fmt.Sprintf("on its way from %s to %s: %d of %d hosts prepared", m.from, m.to, len(m.hosts)-len(m.unready()), len(m.hosts))
	case m.under():
		return fmt.Sprintf("on its way from %s to %s: %d of %d hosts moved", m.from, m.to, m.count(), len(m.hosts))
	default:
		return fmt.Sprintf("no migration: the network is of backend type %s, with %d hosts", m.config.BackendType, len(m.hosts))
	}
}

// table is what --status prints.
func (m migration) table(out io.Writer) error {
	tw := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, m.summary())
	if len(m.hosts) == 0 {
		return tw.Flush()
	}
	fmt.Fprintf(tw, "\nSUBNET\tHOST\tTYPE\tSTATE\n")
	for _, h := range m.hosts {
		for _, s := range h.subnets {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", s.CIDR(), h.addr, h.kind, m.stateOf(h))
		}
	}
	return tw.Flush()
}

// stateOf is a host's state in a word or two.
func (m migration) stateOf(h migrant) string {
	kind := m.from
	if h.moved {
		kind = m.to
	}
	switch {
	case !m.under() && !h.ready:
		return "-"
	case !m.under():
		return "still takes both formats"
	case !h.ready:
		return "doesn't take both formats"
	case h.kind != kind:
		return "on its way to " + kind
	case h.moved:
		return "moved"
	default:
		return "prepared"
	}
}
