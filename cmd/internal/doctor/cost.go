package doctor

import (
	"fmt"
	"strings"

	"weft/perf/report"
)

// costs fills in what a host without each rung has left of the throughput, as the reference run
// measured it: the ratio of weft with that rung off to weft with all of them, round by round.
func costs(all []Rung, reference *report.Run) {
	for i := range all {
		all[i].Cost = cost(reference, all[i].subject)
	}
}

// costOf lists the figures that rungs are worth something for.
var costOf = []struct {
	name     string
	row      string
	scenario string
	metric   report.Metric
}{
	{"TCP", report.RowGSO, report.TCP1, report.Gbps},
	{"TCP on a wire", report.RowSegmented, report.TCP1, report.Gbps},
	{"64 B", report.RowGSO, report.UDP64, report.PPS},
}

func cost(run *report.Run, subject string) string {
	var parts []string
	for _, c := range costOf {
		figure := report.Figure{Row: c.row, Scenario: c.scenario, Metric: c.metric, Subject: subject}
		whole := figure
		whole.Subject = report.Weft
		if ratio := run.Ratio(figure, whole); ratio.Known() {
			parts = append(parts, fmt.Sprintf("%s × %.2f", c.name, ratio.Median))
		}
	}
	return strings.Join(parts, ", ")
}
