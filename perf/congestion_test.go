package perf

import (
	"strings"
	"testing"

	"weft/perf/report"
)

// The load runs under the congestion control that was asked for, and the report says which; one that this kernel lacks is
// refused before anything is built.
func TestCongestionControlIsWhatWasAskedFor(t *testing.T) {
	o := inLab(t)
	o.Rounds, o.Subjects, o.Scenarios, o.Rows = 1, []string{report.Plain}, []string{report.TCP1}, []string{report.RowGSO}
	o.Congestion = "reno" // which every kernel has
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Settings.TCP != "reno" || len(r.Samples) != 1 {
		t.Errorf("%d samples under %q", len(r.Samples), r.Settings.TCP)
	}
	o.Congestion = "vegetarian"
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), `"vegetarian"`) || !strings.Contains(err.Error(), "reno") {
		t.Errorf("%v, want it named, and what there is", err)
	}
}
