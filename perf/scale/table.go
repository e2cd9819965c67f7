package scale

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Goals of the lease layer, as asked: what a run reached is shown beside them, and never asserted.
const (
	goalChange = 250 // ms from a change to all agents, 99 of 100
	goalMemory = 20  // MB of an agent at 5,000 leases
)

// mega is the unit of memory and traffic here: MB.
const mega = 1e6

// A section is a table of the result: the first row is its heading.
type section struct {
	title string
	rows  [][]string
}

// sections are the result's tables, for every format.
func (r *Result) sections() []section {
	return []section{r.starts(), r.changes(), r.etcd(), r.memory(), r.checked()}
}

func (r *Result) starts() section {
	s := section{title: "Start of all agents at once", rows: [][]string{{"", "lease p50 ms", "p99 ms", "max ms", "everyone knows everyone, s", "failed tries"}}}
	for _, x := range r.Starts {
		s.rows = append(s.rows, []string{x.Name, ms(x.Acquired.P50), ms(x.Acquired.P99), ms(x.Acquired.Max), fmt.Sprintf("%.1f", x.Converged), fmt.Sprint(x.Retries)})
	}
	return s
}

func (r *Result) changes() section {
	s := section{title: fmt.Sprintf("From a change to its application (asked: p99 ≤ %d ms)", goalChange), rows: [][]string{{"", "p50 ms", "p99 ms", "max ms", "measured"}}}
	add := func(x Spread) {
		s.rows = append(s.rows, []string{x.Name, ms(x.P50), ms(x.P99), ms(x.Max), fmt.Sprint(x.Count)})
	}
	for _, x := range r.Changes {
		add(x)
	}
	for i, p := range r.Probes {
		p.Changes.Name = fmt.Sprintf("probe %d, to its route table", i+1)
		add(p.Changes)
	}
	return s
}

// phases are the loads with their names.
func (r *Result) phases() (names []string, loads []Load) {
	for _, s := range r.Starts {
		names, loads = append(names, s.Name), append(loads, s.Load)
	}
	return append(names, "idle", "changes", "one renewal each"), append(loads, r.Idle, r.Load, r.Renewal)
}

func (r *Result) etcd() section {
	s := section{title: "What etcd did", rows: [][]string{{"", "s", "reads", "transactions", "leases granted, renewed, revoked", "requests/s", "watch messages", "MB out", "MB in", "etcd CPU s", "agents' CPU s"}}}
	names, loads := r.phases()
	for i, l := range loads {
		requests := 0.0
		for _, n := range l.Requests {
			requests += n
		}
		s.rows = append(s.rows, []string{names[i], fmt.Sprintf("%.1f", l.Seconds), count(l.Requests["Range"]), count(l.Requests["Txn"] + l.Requests["Put"]),
			count(l.Requests["LeaseGrant"]) + ", " + count(l.Requests["LeaseKeepAlive"]) + ", " + count(l.Requests["LeaseRevoke"]),
			count(requests / max(l.Seconds, 0.001)), count(l.Messages), count(l.Sent / mega), count(l.Received / mega), fmt.Sprintf("%.1f", l.CPU), fmt.Sprintf("%.1f", l.OwnCPU)})
	}
	return s
}

func (r *Result) memory() section {
	s := section{title: fmt.Sprintf("Memory (asked: an agent ≤ %d MB at 5,000 leases)", goalMemory), rows: [][]string{{"", "MB"}}}
	add := func(name string, bytes uint64) {
		s.rows = append(s.rows, []string{name, fmt.Sprintf("%.1f", float64(bytes)/mega)})
	}
	for i, p := range r.Probes {
		name := fmt.Sprintf("probe %d with %d leases: ", i+1, p.Leases)
		add(name+"heap in use", p.Heap)
		add(name+"RSS", p.RSS)
		add(name+"RSS at its peak, in the restart of all", p.Peak)
		add(name+"RSS before it knew any", p.Empty)
	}
	add("simulated agent, decoding and snapshots shared", r.Memory.PerAgent)
	add("etcd, RSS", r.Server.RSS)
	add("etcd, database", r.Server.DB)
	return s
}

func (r *Result) checked() section {
	s := section{title: "What must hold at any speed", rows: [][]string{{"", "", ""}}}
	for _, c := range r.Checks {
		verdict := "holds"
		if !c.OK {
			verdict = "FAILS"
		}
		s.rows = append(s.rows, []string{c.Name, verdict, c.Got})
	}
	return s
}

func ms(v float64) string    { return fmt.Sprintf("%.0f", v) }
func count(v float64) string { return fmt.Sprintf("%.0f", v) }

// Simulated says in a sentence what was real and what was not.
func (r *Result) Simulated() string {
	return fmt.Sprintf("%d agents in one process (real keeper, follower and etcd store; a watch stream and a map of records each; decoding and\n"+
		"snapshots shared) over %d connections of %d agents, %d probes that share nothing; %s.\n%s, %d cores, %.0f GB, Linux %s, %s, weft %s, %s. "+
		"Other programs used %.0f %% of the cores before the run.",
		r.Hosts, r.Connections, r.PerConnection, len(r.Probes), r.Etcd, r.Host.CPU, r.Host.Cores, float64(r.Host.Memory)/1e9, r.Host.Kernel, r.Host.Go,
		r.Host.Commit, r.Date.Format("2006-01-02"), 100*r.Background)
}

// WriteTable writes the result for a terminal.
func (r *Result) WriteTable(w io.Writer) error {
	fmt.Fprintln(w, r.Simulated())
	for _, s := range r.sections() {
		fmt.Fprintf(w, "\n%s\n", s.title)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range s.rows {
			if strings.Join(row, "") != "" {
				fmt.Fprintln(t, "  "+strings.Join(row, "\t"))
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// WriteMarkdown writes the same as Markdown.
func (r *Result) WriteMarkdown(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintln(&out, r.Simulated())
	for _, s := range r.sections() {
		fmt.Fprintf(&out, "\n**%s**\n\n", s.title)
		for i, row := range s.rows {
			fmt.Fprintf(&out, "| %s |\n", strings.Join(row, " | "))
			if i == 0 {
				fmt.Fprintf(&out, "|%s\n", strings.Join(slices.Repeat([]string{"---|"}, len(row)), ""))
			}
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}
