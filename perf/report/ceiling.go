package report

import "fmt"

// nearCeiling is the share of plain veth's figure from which on the machine or the load generators
// limit a subject more than the subject does.
const nearCeiling = 0.85

// busyMachine is the share of the cores from which on other programs disturb the figures.
const busyMachine = 0.05

// Doubts returns a warning for everything that makes the run's figures less than they seem.
func (r *Run) Doubts() []string {
	var doubts []string
	if r.Background > busyMachine {
		doubts = append(doubts, fmt.Sprintf(
			"other programs kept %.0f %% of the cores busy between the samples: repeat on a quiet machine", 100*r.Background))
	}
	return append(doubts, r.Ceilings()...)
}

// Ceilings returns a warning for every rate that came near to that without a tunnel: the figure is
// then a lower bound. Latency and cost have no ceiling.
func (r *Run) Ceilings() []string {
	var warnings []string
	for _, row := range r.Rows() {
		for _, c := range Columns() {
			if c.Metric.LessIsBetter() {
				continue
			}
			for _, s := range r.Subjects {
				ratio := r.Ratio(c.Of(row, s.Name), c.Of(row, Plain))
				if s.Name != Plain && ratio.Known() && ratio.Median > nearCeiling {
					warnings = append(warnings, fmt.Sprintf(
						"%s, %s (%s): %s reaches %.0f %% of %s: the machine or the load generators may be what limits it",
						row, c.Scenario, c.Unit, s.Name, 100*ratio.Median, Plain))
				}
			}
		}
	}
	return warnings
}
