package report

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Markers between which generated figures stand in a Markdown file. Whatever is between them is
// replaced; the markers stay.
const (
	BeginMark = "<!-- bench:begin -->"
	EndMark   = "<!-- bench:end -->"
)

// Markdown is the run as a README shows it: what was measured where, then a table per wire row with
// each median and its ratio to the reference.
func Markdown(r *Run) string {
	var out strings.Builder
	fmt.Fprintf(&out, "Measured by `weft bench` on %s, weft %s: %d cores of %s, Linux %s, %s. Median of %d rounds of %.3g s,\n",
		r.Date.UTC().Format("2006-01-02"), r.Host.Commit, r.Host.Cores, r.Host.CPU, r.Host.Kernel, r.Host.Go, r.Settings.Rounds, r.Settings.Seconds)
	fmt.Fprintf(&out, "all subjects by turns in one run, traffic between %s of two hosts (network namespaces of one machine, so every\n", r.Settings.Ends)
	fmt.Fprintf(&out, "program involved shares its cores). In brackets: the ratio to kernel VXLAN in the same rounds.\n")
	if r.Settings.TCP != "" {
		fmt.Fprintf(&out, "TCP's congestion control is %s.\n", r.Settings.TCP)
	}
	for _, row := range r.Rows() {
		fmt.Fprintf(&out, "\n**%s**\n\n", upperFirst(rowTitle(row)))
		columns := r.filled(row)
		head, rule := "| |", "|---|"
		for _, c := range columns {
			head += fmt.Sprintf(" %s %s |", c.Title, c.Unit)
			rule += "---:|"
		}
		fmt.Fprintf(&out, "%s\n%s\n", head, rule)
		for _, s := range r.Subjects {
			fmt.Fprintf(&out, "| %s |", s.Name)
			for _, c := range columns {
				fmt.Fprintf(&out, " %s |", r.markdownCell(c, row, s.Name))
			}
			fmt.Fprintln(&out)
		}
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(&out, "\nNot measured: %s (%s).\n", s.Name, s.Why)
	}
	return out.String()
}

// markdownCell is a median with its ratio to the reference behind it.
func (r *Run) markdownCell(c Column, row, subject string) string {
	text := c.print(r.Spread(c.Of(row, subject)))
	ratio := r.Ratio(c.Of(row, subject), c.Of(row, Reference))
	if ratio.Known() && subject != Reference {
		text += fmt.Sprintf(" (%.2f)", ratio.Median)
	}
	return text
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// ErrMarkers: the document has no place for the figures.
var ErrMarkers = errors.New("markers missing")

// Insert replaces what stands between the markers of a document. Nothing else changes, so it can be
// run again and again.
func Insert(document []byte, text string) ([]byte, error) {
	before, rest, ok := bytes.Cut(document, []byte(BeginMark))
	_, after, closed := bytes.Cut(rest, []byte(EndMark))
	if !ok || !closed {
		return nil, fmt.Errorf("inserting figures: %w: put %s and %s where they belong", ErrMarkers, BeginMark, EndMark)
	}
	return fmt.Appendf(nil, "%s%s\n%s%s%s", before, BeginMark, text, EndMark, after), nil
}
