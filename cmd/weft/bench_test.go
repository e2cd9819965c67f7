package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/perf/report"
)

// benchRun is a small run that the report package keeps as a golden file.
var benchRun = filepath.Join("..", "..", "perf", "report", "testdata", "run.json")

// weftCommand runs one command line in this process.
func weftCommand(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(append([]string{"weft"}, args...), &out, &errs)
	return status, out.String(), errs.String()
}

func TestBenchShowsAndDrawsAnEarlierRun(t *testing.T) {
	svg := filepath.Join(t.TempDir(), "chart.svg")
	png := filepath.Join(t.TempDir(), "chart.png")
	again := filepath.Join(t.TempDir(), "run.json")
	status, out, errs := weftCommand(t, "bench", "--show", benchRun, "--goals", "--svg", svg, "--png", png, "--json", again)
	if status != exitOK || !strings.Contains(out, "as a ratio to vxlan") || !strings.Contains(out, "verdict") {
		t.Fatalf("status %d, %s\n%s", status, errs, out)
	}
	for name, begins := range map[string]string{svg: "<?xml", png: "\x89PNG", again: "{"} {
		if text, err := os.ReadFile(name); err != nil || !strings.HasPrefix(string(text), begins) {
			t.Errorf("%s begins with %.8q, %v", filepath.Base(name), text, err)
		}
	}
	status, out, errs = weftCommand(t, "bench", "--compare", benchRun, again)
	if status != exitOK || !strings.Contains(out, report.Noise) || strings.Contains(out, report.Worse) {
		t.Errorf("a run compared with itself: status %d, %s\n%s", status, errs, out)
	}
}

func TestBenchPutsFiguresIntoADocument(t *testing.T) {
	document := filepath.Join(t.TempDir(), "README.md")
	text := "# title\n\n" + report.BeginMark + "\nold\n" + report.EndMark + "\n\nend\n"
	if err := os.WriteFile(document, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if status, _, errs := weftCommand(t, "bench", "--markdown", benchRun, "--readme", document); status != exitOK {
		t.Fatalf("status %d, %s", status, errs)
	}
	got, err := os.ReadFile(document)
	if err != nil || !strings.HasPrefix(string(got), "# title\n") || !strings.HasSuffix(string(got), "\nend\n") ||
		strings.Contains(string(got), "old") || !strings.Contains(string(got), "| vxlan |") {
		t.Errorf("%v, document:\n%s", err, got)
	}
}

func TestBenchRefusesWithARemedy(t *testing.T) {
	noMarks := filepath.Join(t.TempDir(), "plain.md")
	if err := os.WriteFile(noMarks, []byte("# title\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		wants  []string
	}{
		{[]string{"--compare", "a.json"}, exitUsage, []string{"--compare", "two runs"}},
		{[]string{"--compare", "nowhere.json", benchRun}, exitFailure, []string{"nowhere.json"}},
		{[]string{"--show", noMarks}, exitFailure, []string{"plain.md", "bench --json"}},
		{[]string{"--markdown", benchRun, "--readme", noMarks}, exitFailure, []string{"plain.md", report.BeginMark}},
		{[]string{"--only", "tcp2"}, exitUsage, []string{`"tcp2"`, "tcp1,"}},
		{[]string{"--subjects", "ipsec,veth"}, exitUsage, []string{`"ipsec"`, "vxlan,"}},
		{[]string{"--row", "fast"}, exitUsage, []string{"--row", "segmented"}},
		{[]string{"--duration", "1ms"}, exitUsage, []string{"duration 1ms", "100ms"}},
		{[]string{"stray"}, exitUsage, []string{"stray"}},
	} {
		status, _, errs := weftCommand(t, append([]string{"bench"}, c.args...)...)
		if status != c.status {
			t.Errorf("%v: status %d, want %d", c.args, status, c.status)
		}
		for _, want := range c.wants {
			if !strings.Contains(errs, want) {
				t.Errorf("%v: %q doesn't say %q", c.args, errs, want)
			}
		}
	}
}

func TestBenchLoadTakesExactlyOneJob(t *testing.T) {
	for _, args := range [][]string{{}, {"{"}, {"{}", "{}"}} {
		if status, _, errs := weftCommand(t, append([]string{"bench-load"}, args...)...); status != exitUsage || errs == "" {
			t.Errorf("%v: status %d, %q", args, status, errs)
		}
	}
	status, out, _ := weftCommand(t, "bench-load", `{"role":"tcp-sing"}`)
	if status != exitFailure || !strings.Contains(out, `{"error":`) {
		t.Errorf("a bad job: status %d, wrote %q: want an error line for weft bench", status, out)
	}
}
