package doctor

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"weft/cmd/internal/admin"
	"weft/cmd/internal/probe"
	"weft/kernelmode"
	"weft/perf/report"
)

// A Report is all that the doctor found.
type Report struct {
	Machine []Check  `json:"machine"`
	Ways    []Way    `json:"datapaths"`
	Ladder  []Rung   `json:"ladder"`
	Agent   string   `json:"agent"`             // what runs here, or that none answers
	Better  string   `json:"better,omitempty"`  // what would have to change for it to have a faster datapath
	Lowered []string `json:"lowered,omitempty"` // what its descriptors lost while running
	Basis   string   `json:"basis"`             // where the costs come from
}

// Healthy reports whether an agent can run here at all.
func (r Report) Healthy() bool {
	for _, c := range r.Machine {
		if !c.OK {
			return false
		}
	}
	return true
}

// Examine tries everything. socket is the admin socket of the agent to ask; reference the run that
// costs are taken from.
func Examine(ctx context.Context, socket string, reference *report.Run) Report {
	r := Report{Machine: machine(), Ways: append(ways(kernelmode.Probe), laneWay(probe.Lane())), Ladder: rungs()}
	try(r.Ladder)
	costs(r.Ladder, reference)
	r.Basis = fmt.Sprintf("weft bench, %s, Linux %s, %d cores of %s", reference.Date.UTC().Format("2006-01-02"),
		reference.Host.Kernel, reference.Host.Cores, reference.Host.CPU)
	state, _, err := admin.Ask(ctx, socket)
	if err != nil {
		r.Agent = err.Error()
		return r
	}
	r.Agent = fmt.Sprintf("%s, pid %d: %s datapath", state.Version, state.PID, state.Datapath.Kind)
	if state.Datapath.Why != "" {
		r.Agent += " (" + state.Datapath.Why + ")"
	}
	r.Better = state.Datapath.Better
	for i := range r.Ladder {
		r.Ladder[i].inUse(state.Datapath)
	}
	r.Lowered = state.Datapath.Lowered
	return r
}

// Table writes the report for a person to read.
func (r Report) Table(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range r.Machine {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", mark(c.OK), c.Name, c.Found)
		if c.Remedy != "" {
			fmt.Fprintf(tw, "\t\t→ %s\n", c.Remedy)
		}
	}
	fmt.Fprintf(tw, "\nagent\t%s\n", r.Agent)
	if r.Better != "" {
		fmt.Fprintf(tw, "better\t%s\n", r.Better)
	}
	writeWays(tw, r.Ways)
	fmt.Fprintf(tw, "\nRUNG\tHERE\tIN USE\tWITHOUT IT\tFLAG\tWHAT\n")
	for _, rung := range r.Ladder {
		used, cost := "-", rung.Cost
		if rung.InUse != nil {
			used = yes(*rung.InUse)
		}
		if cost == "" {
			cost = "not measured"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", rung.Name, rung.here(), used, cost, rung.Flag, rung.What)
	}
	for i, rung := range r.Ladder {
		if rung.Why != "" && (i == 0 || rung.Why != r.Ladder[i-1].Why) {
			fmt.Fprintf(tw, "\n%s: %s\n", rung.Name, rung.Why)
		}
	}
	for _, why := range r.Lowered {
		fmt.Fprintf(tw, "\nlowered while running: %s\n", why)
	}
	fmt.Fprintf(tw, "\nWhat a host has left without a rung: %s.\n", r.Basis)
	return tw.Flush()
}

func mark(ok bool) string {
	if ok {
		return "✓"
	}
	return "✗"
}

// here says whether the rung can be had on this machine, if that could be found out.
func (r Rung) here() string {
	if !r.Tried {
		return "?"
	}
	return yes(r.Works)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
