package report

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// A Change is one figure in two runs.
type Change struct {
	Column
	Row, Subject string
	Before       Spread
	After        Spread

	// Ratio is After/Before with the noise of both runs. Where both runs measured the reference
	// subject, it is the change of the ratio to that: what drifted with the machine cancels out.
	Ratio    Spread
	Relative bool // Ratio is of ratios to the reference
}

// Significance of a change.
const (
	Better = "better"
	Worse  = "worse"
	Noise  = "within noise"
)

// Significance says whether the noise of both runs leaves room for "no change". It compares extremes,
// which is stricter than a test on means and needs no distribution: with five rounds there is none.
func (c Change) Significance() string {
	switch {
	case c.Ratio.Min <= 1 && c.Ratio.Max >= 1:
		return Noise
	case (c.Ratio.Median > 1) != c.Metric.LessIsBetter():
		return Better
	}
	return Worse
}

// Compare returns every figure that both runs have, in the order of the tables. Subjects, rows and
// columns of only one run are left out: there is nothing to say about their change.
func Compare(before, after *Run) []Change {
	var changes []Change
	for _, row := range before.Rows() {
		for _, s := range before.Subjects {
			for _, column := range Columns() {
				c := Change{Column: column, Row: row, Subject: s.Name}
				f := column.Of(row, s.Name)
				c.Before, c.After = before.Spread(f), after.Spread(f)
				c.Ratio = c.After.Over(c.Before)
				reference := column.Of(row, Reference)
				a, b := after.Ratio(f, reference), before.Ratio(f, reference)
				if s.Name != Reference && a.Known() && b.Known() {
					c.Ratio, c.Relative = a.Over(b), true
				}
				if c.Ratio.Known() {
					changes = append(changes, c)
				}
			}
		}
	}
	return changes
}

// WriteComparison writes the changes as a table, and says what may make the runs incomparable.
func WriteComparison(w io.Writer, before, after *Run) error {
	for _, difference := range differences(before, after) {
		fmt.Fprintf(w, "warning: %s\n", difference)
	}
	changes := Compare(before, after)
	if len(changes) == 0 {
		_, err := fmt.Fprintln(w, "nothing in common: the runs share no row, scenario and subject")
		return err
	}
	grid := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(grid, "row\tsubject\tfigure\tbefore\tafter\tratio\tfrom–to\t")
	for _, c := range changes {
		of := ""
		if c.Relative {
			of = " *"
		}
		fmt.Fprintf(grid, "%s\t%s\t%s %s\t%s\t%s\t%.2f%s\t%.2f–%.2f\t%s\n", c.Row, c.Subject, c.Title, c.Unit,
			c.print(c.Before), c.print(c.After),
			c.Ratio.Median, of, c.Ratio.Min, c.Ratio.Max, c.Significance())
	}
	if err := grid.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "* change of the ratio to %s in the same run, so that the machine's drift cancels out\n", Reference)
	return err
}

// differences lists what makes two runs hard to compare. Rounds and durations aren't among them: they
// change the noise, and that is in the bounds.
func differences(a, b *Run) []string {
	var found []string
	differ := func(what string, x, y any) {
		if x != y {
			found = append(found, fmt.Sprintf("the runs differ in %s: %v and %v", what, x, y))
		}
	}
	differ("CPU", a.Host.CPU, b.Host.CPU)
	differ("cores", a.Host.Cores, b.Host.Cores)
	differ("kernel", a.Host.Kernel, b.Host.Kernel)
	differ("Go", a.Host.Go, b.Host.Go)
	differ("load generators", a.Settings.Load, b.Settings.Load)
	differ("where the load runs", a.Settings.Ends, b.Settings.Ends)
	differ("underlay MTU", a.Settings.Underlay, b.Settings.Underlay)
	if a.Settings.TCP != "" && b.Settings.TCP != "" {
		differ("TCP congestion control", a.Settings.TCP, b.Settings.TCP)
	}
	return found
}
