package report

import (
	"fmt"
	"strings"
)

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

// Ceilings returns a warning for every wire row on which rates came near to those without a tunnel:
// such a figure is a lower bound. It can be over 100 % too, where a forwarder's threads take work off
// the sender that a path without one does itself. Latency and cost have no ceiling.
func (r *Run) Ceilings() []string {
	var warnings []string
	for _, row := range r.Rows() {
		var near []string
		for _, c := range Columns() {
			if c.Metric.LessIsBetter() {
				continue
			}
			for _, s := range r.Subjects {
				ratio := r.Ratio(c.Of(row, s.Name), c.Of(row, Plain))
				if s.Name != Plain && ratio.Known() && ratio.Median > nearCeiling {
					near = append(near, fmt.Sprintf("%s %s %.0f %%", c.Scenario, s.Name, 100*ratio.Median))
				}
			}
		}
		if len(near) > 0 {
			warnings = append(warnings, fmt.Sprintf("%s: more than %.0f %% of %s, so the machine or the load generators may be what limits it: %s",
				row, 100*nearCeiling, Plain, strings.Join(near, ", ")))
		}
	}
	return warnings
}
