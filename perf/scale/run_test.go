package scale

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/perf/report"
)

// small is a run of a hundred agents, with this test program as weft.
func small(t *testing.T) Options {
	t.Helper()
	o := Defaults()
	o.Hosts, o.PerConnection, o.Probes, o.Changes, o.Etcd = 100, 10, 1, 6, EtcdEmbedded
	var err error
	if o.Weft, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	return o
}

// leftovers are the folders of this process's runs.
func leftovers(t *testing.T) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(os.TempDir(), fmt.Sprintf("%s%d-*", folderPrefix, os.Getpid())))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func TestAHundredAgents(t *testing.T) {
	o := small(t)
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	// Every agent leased, no subnet twice, the same one after a restart, nothing read while nothing
	// changes, no list for a change, the probe knows all: these are the run's own checks.
	if err := r.Failed(); err != nil {
		t.Error(err)
	}
	if len(r.Checks) != 6 {
		t.Errorf("checks: %+v", r.Checks)
	}
	if len(r.Starts) != 2 || r.Starts[0].Acquired.Count != o.Hosts || r.Starts[1].Acquired.Count != o.Hosts {
		t.Errorf("starts: %+v", r.Starts)
	}
	// Convergence must not cost a read per agent: whoever makes a change reads, once, and nobody else.
	if n := r.Load.Requests["Range"]; n > float64(2*o.Changes) {
		t.Errorf("%d changes cost %.0f reads with %d agents", o.Changes, n, o.Hosts)
	}
	// And each of them was told.
	if least := float64(o.Hosts * o.Changes); r.Load.Messages < least {
		t.Errorf("%.0f watch messages for %d changes and %d agents", r.Load.Messages, o.Changes, o.Hosts)
	}
	for _, c := range r.Changes {
		if c.Count == 0 || c.P50 <= 0 || c.P99 < c.P50 || c.Max < c.P99 || len(c.Quantiles) != 101 {
			t.Errorf("%s: %+v", c.Name, c)
		}
	}
	for _, s := range r.Starts {
		if s.Acquired.P50 <= 0 || s.Converged <= 0 || s.Load.CPU <= 0 || s.Load.Sent <= 0 || s.Load.Requests["LeaseGrant"] < float64(o.Hosts) {
			t.Errorf("%s: %+v", s.Name, s)
		}
	}
	if n := r.Renewal.Requests["LeaseKeepAlive"]; n < float64(o.Hosts) {
		t.Errorf("%.0f renewals by %d agents", n, o.Hosts)
	}
	p := r.Probes[0]
	if p.Leases != o.Hosts+o.Probes || p.Heap == 0 || p.RSS <= p.Heap || p.Changes.Count != o.Changes {
		t.Errorf("probe: %+v", p)
	}
	if r.Server.RSS == 0 || r.Server.DB == 0 || r.Memory.PerAgent == 0 || !strings.Contains(r.Etcd, "embedded") {
		t.Errorf("server %+v %q, memory %+v", r.Server, r.Etcd, r.Memory)
	}
	written(t, r)
	if left := leftovers(t); left != nil {
		t.Errorf("left over: %v", left)
	}
}

// written looks at what people get.
func written(t *testing.T, r *Result) {
	t.Helper()
	var table, markdown, text bytes.Buffer
	if err := errors.Join(r.WriteTable(&table), r.WriteMarkdown(&markdown), r.Write(&text)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"100 agents in one process", "all start again", "until the last agent", "probe 1 with 101 leases: heap in use", "holds"} {
		if !strings.Contains(table.String(), want) || !strings.Contains(markdown.String(), want) {
			t.Errorf("no %q in\n%s", want, table.String())
		}
	}
	var back Result
	if err := json.Unmarshal(text.Bytes(), &back); err != nil {
		t.Error(err)
	} else if back.Starts[0].Acquired.P99 != r.Starts[0].Acquired.P99 {
		t.Errorf("JSON says %+v", back.Starts[0])
	}
	for picture, begins := range map[string]string{report.SVG: "<?xml", report.PNG: "\x89PNG"} {
		var b bytes.Buffer
		if err := r.WriteChart(&b, picture); err != nil || !strings.HasPrefix(b.String(), begins) {
			t.Errorf("%s: %v, begins %.10q", picture, err, b.String())
		}
	}
	if r.WriteChart(&table, "gif") == nil {
		t.Error("a chart was drawn as gif")
	}
}

// TestAnInterruptedRunLeavesNothing: ^C ends it when etcd is there and the agents are about to start.
func TestAnInterruptedRunLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o := small(t)
	stop := interrupter{cancel: cancel}
	o.Progress = &stop
	r, err := Run(ctx, o)
	if !errors.Is(err, context.Canceled) || r != nil {
		t.Errorf("result %v, error %v", r, err)
	}
	if left := leftovers(t); left != nil {
		t.Errorf("left over: %v", left)
	}
}

// An interrupter ends the run at its first line of progress, which is written before all start.
type interrupter struct{ cancel func() }

func (i *interrupter) Write(line []byte) (int, error) {
	i.cancel()
	return len(line), nil
}

// TestARunThatTakesTooLongSaysWhatItWaitedFor: a second isn't enough for so many.
func TestARunThatTakesTooLongSaysWhatItWaitedFor(t *testing.T) {
	o := Options{Limit: time.Millisecond}
	err := poll(t.Context(), o, "all start at once", func() bool { return false }, func() string { return "3 of 5 have a lease" })
	if err == nil || !strings.Contains(err.Error(), "3 of 5 have a lease") || !strings.Contains(err.Error(), "--limit") {
		t.Error(err)
	}
}
