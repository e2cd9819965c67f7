package doctor

import (
	"path/filepath"
	"strings"
	"testing"

	"weft/cmd/internal/admin"
	"weft/perf/netlab/labtest"
	"weft/perf/report"
	"weft/tunnel"
)

// Every kernel that weft is tested on has all rungs; an agent's own opening of the device must agree
// with what the doctor says.
func TestRungsAreTriedForReal(t *testing.T) {
	labtest.Need(t)
	run := &report.Run{}
	r := Examine(t.Context(), filepath.Join(t.TempDir(), "none.sock"), run)
	if !r.Healthy() {
		t.Errorf("an agent can't run here: %+v", r.Machine)
	}
	if !strings.Contains(r.Agent, "no agent answers") {
		t.Errorf("agent: %q", r.Agent)
	}
	for _, rung := range r.Ladder {
		if !rung.Tried || rung.InUse != nil {
			t.Errorf("%s: tried %v, in use %v", rung.Name, rung.Tried, rung.InUse)
		}
		if !rung.Works && rung.Name != "USO" { // Linux 6.2; the others came by 5.0
			t.Errorf("%s doesn't work: %s", rung.Name, rung.Why)
		}
	}
}

func TestChecksNameTheRemedy(t *testing.T) {
	for _, c := range []Check{rootCheck(1000), tunCheck(filepath.Join(t.TempDir(), "tun")), tunCheck(t.TempDir())} {
		if c.OK || c.Remedy == "" {
			t.Errorf("%+v: want it not OK, with a remedy", c)
		}
	}
	if c := rootCheck(0); !c.OK {
		t.Errorf("root: %+v", c)
	}
	if (Report{Machine: []Check{{OK: true}, {OK: false}}}).Healthy() {
		t.Error("a machine with one check failed is called healthy")
	}
}

func TestCostIsTheRatioOfTheReferenceRun(t *testing.T) {
	sample := func(subject string, gbps float64) report.Sample {
		return report.Sample{Row: report.RowGSO, Scenario: report.TCP1, Subject: subject,
			Values: map[report.Metric]float64{report.Gbps: gbps}}
	}
	run := &report.Run{Samples: []report.Sample{sample(report.Weft, 8), sample("weft-notso", 2)}}
	all := rungs()
	costs(all, run)
	if all[0].Cost != "TCP × 0.25" || all[1].Cost != "" {
		t.Errorf("costs %q and %q, want TCP × 0.25 and nothing", all[0].Cost, all[1].Cost)
	}
}

// Every rung takes over what probing says of it by its flag's name, and looks at its own part of what an
// agent uses.
func TestRungsAreDistinct(t *testing.T) {
	for _, one := range []string{"tso", "uso", "gso", "gro", "multi-queue", "batch", "udp-tunnel-gso"} {
		works := 0
		for _, r := range rungs() {
			r.judge([]tunnel.Rung{{Name: one, On: true}})
			if r.Works {
				works++
			}
		}
		if want := map[bool]int{false: 1, true: 2}[one == "tso"]; works != want {
			t.Errorf("%s alone makes %d rungs work, want %d", one, works, want)
		}
	}
	ladder := rungs()
	for i := range ladder {
		ladder[i].inUse(admin.Datapath{Offloads: tunnel.Offloads{TSO: true}})
		if want := ladder[i].Name == "TSO"; *ladder[i].InUse != want {
			t.Errorf("%s: in use %v with TSO alone", ladder[i].Name, !want)
		}
	}
}

func TestTableShowsEveryRungAndItsReason(t *testing.T) {
	on := true
	r := Report{
		Machine: []Check{{Name: "TUN", Found: "no /dev/net/tun", Remedy: "modprobe tun"}},
		Agent:   "weft 1, pid 7: userspace datapath",
		Ladder: []Rung{
			{Name: "TSO", Flag: "--offload-tso", What: "w", Tried: true, Works: true, InUse: &on, Cost: "TCP × 0.25"},
			{Name: "GRO", Flag: "--offload-gro", What: "w", Tried: true, Why: "the kernel refuses"},
			{Name: "batch", Flag: "--offload-batch", What: "w", Why: "not tried"},
		},
		Basis: "a run",
	}
	var out strings.Builder
	if err := r.Table(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"✗  TUN  no /dev/net/tun\n", "→ modprobe tun", "TSO    yes   yes     TCP × 0.25", "GRO    no    -       not measured",
		"batch  ?", "GRO: the kernel refuses", "batch: not tried", "a run.",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
