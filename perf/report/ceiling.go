package report

import "fmt"

// nearCeiling is the share of plain veth's figure from which on the machine or the load generators
// limit a subject more than the subject does.
const nearCeiling = 0.85

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
