package perf

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"weft/perf/report"
)

// progress tells a person what happens and how long it will go on. One goroutine uses it.
type progress struct {
	to          io.Writer // nil: silence
	done, total int
	each        time.Duration
}

// say writes one line.
func (p *progress) say(format string, args ...any) {
	if p.to != nil {
		fmt.Fprintf(p.to, format+"\n", args...)
	}
}

// begin announces the length of the run.
func (p *progress) begin(total int, each time.Duration) {
	p.total, p.each = total, each
	p.say("measuring: %d samples, about %v", total, p.left())
}

// left is the time that the rest will take, if no sample fails; a failing one takes up to its limit.
func (p *progress) left() time.Duration {
	return (time.Duration(p.total-p.done) * p.each).Round(time.Second)
}

// sample announces one result.
func (p *progress) sample(rounds int, s report.Sample) {
	p.done++
	text := s.Error
	if text == "" {
		text = figures(s)
	}
	p.say("[%*d/%d, %v left] %s, round %d/%d, %s, %s: %s", len(fmt.Sprint(p.total)), p.done, p.total, p.left(),
		s.Row, s.Round+1, rounds, s.Scenario, s.Subject, text)
}

// figures puts a sample's values on one line, in the order of the tables. The machine's CPU is left
// out: it means something only beside other subjects'.
func figures(s report.Sample) string {
	var parts []string
	for _, c := range report.Columns() {
		value, ok := s.Values[c.Metric]
		part := fmt.Sprintf("%s %.*f %s", c.Title, c.Decimals, value/c.Scale, c.Unit)
		cost := c.Metric == report.MachineCPU || c.Metric == report.TotalCPU
		if c.Scenario == s.Scenario && ok && !cost && !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}
