package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Reference is the subject that ratios are taken to: what everyone compares a fabric with.
const Reference = "vxlan"

// Plain is the subject without any tunnel: the ceiling of the machine and of the load generators.
const Plain = "veth"

// WriteTable writes the run for a terminal: per wire row the medians, then the ratios to the
// reference, then whatever the reader has to know to trust them.
func WriteTable(w io.Writer, r *Run) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s, %d cores, Linux %s, %s, weft %s\n", r.Host.CPU, r.Host.Cores, r.Host.Kernel, r.Host.Go, r.Host.Commit)
	tcp := ""
	if r.Settings.TCP != "" {
		tcp = "; TCP " + r.Settings.TCP
	}
	fmt.Fprintf(&out, "%s; medians of %d rounds of %.3g s; load by %s between %s; underlay MTU %d%s\n",
		r.Date.UTC().Format("2006-01-02 15:04 UTC"), r.Settings.Rounds, r.Settings.Seconds, r.Settings.Load, r.Settings.Ends, r.Settings.Underlay, tcp)
	for _, row := range r.Rows() {
		columns := r.filled(row)
		fmt.Fprintf(&out, "\n%s\n", rowTitle(row))
		writeGrid(&out, r, columns, func(c Column, subject string) string {
			return c.print(r.Spread(c.Of(row, subject)))
		})
		if _, ok := r.Subject(Reference); !ok {
			continue
		}
		fmt.Fprintf(&out, "\n%s, as a ratio to %s (median of the rounds' ratios)\n", rowTitle(row), Reference)
		writeGrid(&out, r, columns, func(c Column, subject string) string {
			return ratioText(r.Ratio(c.Of(row, subject), c.Of(row, Reference)))
		})
	}
	writeNotes(&out, r)
	_, err := io.WriteString(w, out.String())
	return err
}

// filled drops the columns that no subject has a value for on this row.
func (r *Run) filled(row string) []Column {
	return slices.DeleteFunc(Columns(), func(c Column) bool {
		return !slices.ContainsFunc(r.Subjects, func(s Subject) bool { return r.Spread(c.Of(row, s.Name)).Known() })
	})
}

// writeGrid writes one line per subject. Columns are aligned to the right, since they are numbers.
func writeGrid(out io.Writer, r *Run, columns []Column, cell func(Column, string) string) {
	grid := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	titles, units := []string{""}, []string{""}
	for _, c := range columns {
		titles, units = append(titles, c.Title), append(units, c.Unit)
	}
	fmt.Fprintln(grid, strings.Join(titles, "\t")+"\t")
	fmt.Fprintln(grid, strings.Join(units, "\t")+"\t")
	for _, s := range r.Subjects {
		cells := []string{s.Name}
		for _, c := range columns {
			cells = append(cells, cell(c, s.Name))
		}
		fmt.Fprintln(grid, strings.Join(cells, "\t")+"\t")
	}
	grid.Flush()
}

// print formats the median in the column's unit, or a dash where nothing was measured.
func (c Column) print(s Spread) string {
	if !s.Known() {
		return "–"
	}
	return fmt.Sprintf("%.*f", c.Decimals, s.Median/c.Scale)
}

// ratioText is a ratio without its bounds: those are in WriteGoals and WriteComparison.
func ratioText(s Spread) string {
	if !s.Known() {
		return "–"
	}
	return fmt.Sprintf("%.2f", s.Median)
}

// rowTitle is a wire row in words.
func rowTitle(row string) string {
	switch row {
	case RowGSO:
		return "GSO passes the underlay"
	case RowSegmented:
		return "the underlay segments, as a wire does"
	}
	return row
}

// writeNotes writes what was measured, what the CPU columns mean, and all reasons for doubt.
func writeNotes(out io.Writer, r *Run) {
	fmt.Fprintln(out)
	for _, s := range r.Subjects {
		fmt.Fprintf(out, "%s: %s, MTU %d; %s\n", s.Name, s.Kind, s.MTU, s.Detail)
	}
	fmt.Fprintln(out, "CPU fwd: both forwarder processes. CPU -load: the whole machine but the load generators. CPU all: with them;")
	fmt.Fprintln(out, "a kernel datapath runs partly inside the generators' system calls, so only this last one compares it with user space.")
	for _, s := range r.Skipped {
		fmt.Fprintf(out, "skipped %s: %s\n", s.Name, s.Why)
	}
	failed := r.Failures()
	for _, s := range r.Subjects {
		if failed[s.Name] > 0 {
			fmt.Fprintf(out, "%s: %d samples failed and are not in the figures\n", s.Name, failed[s.Name])
		}
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(out, "warning: %s\n", warning)
	}
}
