package perf

import (
	"slices"
	"strings"
	"testing"

	"weft/perf/report"
)

func valid() Options {
	o := Defaults()
	o.Weft = "weft"
	return o
}

func TestCheckNamesEveryFault(t *testing.T) {
	o := Options{
		Rows: []string{"slow"}, Scenarios: []string{"tcp2"}, Subjects: []string{"vlan"}, Ends: "here", Load: "ab", Warmup: -1,
	}
	err := o.Check()
	if err == nil {
		t.Fatal("options full of faults are valid")
	}
	for _, want := range []string{"rounds 0", "duration 0s", "warm-up -1ns", `row "slow"`, `ends "here"`, `load "ab"`, "underlay MTU 0", "weft binary", `"tcp2"`, `"vlan"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q isn't named in: %v", want, err)
		}
	}
	o = valid()
	if err := o.Check(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

func names(t *testing.T, o Options) (subjects, scenarios []string) {
	t.Helper()
	candidates, err := o.candidates()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range candidates {
		subjects = append(subjects, s.name)
	}
	chosen, err := o.choose()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range chosen {
		scenarios = append(scenarios, s.name)
	}
	return subjects, scenarios
}

func TestChoosing(t *testing.T) {
	o := valid()
	subjects, scenarios := names(t, o)
	if !slices.Contains(subjects, report.Nebula) || !slices.Contains(subjects, "weft-notso") || len(scenarios) != 8 {
		t.Errorf("a full run leaves out something: %v, %v", subjects, scenarios)
	}
	o.MakeQuick()
	subjects, scenarios = names(t, o)
	if slices.Contains(subjects, "weft-notso") || !slices.Equal(scenarios, []string{report.TCP1, report.UDP64, report.Latency}) {
		t.Errorf("a quick run: %v, %v", subjects, scenarios)
	}
	o.Subjects, o.Scenarios = []string{"ladder", report.Weft, report.Reference}, []string{report.IMIX}
	subjects, scenarios = names(t, o)
	if subjects[0] != report.Reference || subjects[1] != report.Weft || !slices.Contains(subjects, "weft-bare") || len(scenarios) != 1 {
		t.Errorf("chosen by name: %v, %v: want the tables' order", subjects, scenarios)
	}
	o.Subjects = []string{LaneSubjects}
	subjects, _ = names(t, o)
	want := []string{report.WeftLane, report.WeftLaneX, report.LaneToLane, report.LaneToUser, report.UserToLane, report.LaneToKernel, report.KernelToLane}
	if !slices.Equal(subjects, want) {
		t.Errorf("subjects with the lane: %v, want %v", subjects, want)
	}
}

func TestGoalsAndTablesNameRealSubjectsAndScenarios(t *testing.T) {
	scenarios, _ := Scenarios()
	scenarios = append(scenarios, report.Memory)
	known := func(where string, f report.Figure) {
		if f == (report.Figure{}) {
			return
		}
		if !slices.Contains(SubjectNames(), f.Subject) || !slices.Contains(scenarios, f.Scenario) {
			t.Errorf("%s is about %s of %s, which is never measured", where, f.Scenario, f.Subject)
		}
	}
	for _, g := range report.Goals() {
		if g.Elsewhere != "" {
			continue
		}
		known(g.ID, g.Figure)
		known(g.ID, g.Over)
	}
	for _, c := range report.Columns() {
		known("column "+c.Title, c.Of(report.RowGSO, report.Weft))
	}
}

func TestMissingProgramSaysWhatToDo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	o := valid()
	s := subject{name: "nebula", needs: []string{"nebula"}}
	if err := s.missing(t.Context(), &o); err == nil || !strings.Contains(err.Error(), "nebula is not on PATH: install it") {
		t.Errorf("nebula isn't there, and missing says %v", err)
	}
}

func TestEverySubjectLeadsARound(t *testing.T) {
	fabrics := []*fabric{{name: "a"}, {name: "b"}, {name: "c"}}
	var leaders string
	for round := range 4 {
		turn := inTurn(fabrics, round)
		if len(turn) != 3 {
			t.Fatalf("round %d measures %d of 3", round, len(turn))
		}
		leaders += turn[0].name
	}
	if leaders != "abca" {
		t.Errorf("leaders %q, want abca", leaders)
	}
}
