package report

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Names of the subjects that goals are about.
const (
	Weft         = "weft"
	WeftOneQueue = "weft-1worker"
	WeftTwoQueue = "weft-2workers"
	WeftLane     = "weft-express"       // the eBPF lane in a network of type udp
	WeftLaneX    = "weft-express-vxlan" // and of type vxlan
	FlannelUDP   = "flannel-udp"
	Nebula       = "nebula"
	WireGuardGo  = "wireguard-go"

	// In a VXLAN network: load goes from a host with the first datapath to one with the second.
	KernelToKernel = "weft-kk"
	UserToUser     = "weft-uu"
	UserToKernel   = "weft-uk"
	KernelToUser   = "weft-ku"
	LaneToLane     = "weft-ee"
	LaneToUser     = "weft-eu"
	UserToLane     = "weft-ue"
	LaneToKernel   = "weft-ek"
	KernelToLane   = "weft-ke"
)

// A Goal is one thing asked of weft: a figure, or its ratio to another, at least or at most a bound.
type Goal struct {
	ID      string
	What    string
	Figure  Figure
	Over    Figure // the zero value: the figure itself is what counts
	AtMost  bool   // the bound is a ceiling
	Bound   float64
	Cores   int  // fewer than these can't show it
	Largest bool // the worst round counts, not the median: for what must never happen

	Elsewhere string // what shows it, where traffic can't; nothing else than ID and What is set then
}

// Goals are the performance goals P1 to P9, in order, and what is asked of mixed VXLAN networks. What
// traffic can't show (copies, allocations, lookups) is listed with where it is shown. "To flannel udp" and
// the like stand below the goal they belong to, as each of them has to hold.
func Goals() []Goal {
	fig := func(row, scenario string, m Metric, subject string) Figure {
		return Figure{Row: row, Scenario: scenario, Metric: m, Subject: subject}
	}
	tcp := func(row, subject string) Figure { return fig(row, TCP1, Gbps, subject) }
	udp := func(subject string) Figure { return fig(RowGSO, UDP64, PPS, subject) }
	lat := func(m Metric, subject string) Figure { return fig(RowGSO, Latency, m, subject) }
	cpu := func(subject string) Figure { return fig(RowGSO, TCP1, ForwarderCPU, subject) }
	return slices.Concat([]Goal{
		{ID: "P1", What: "one TCP stream, GSO passing, to kernel VXLAN", Figure: tcp(RowGSO, Weft), Over: tcp(RowGSO, Reference), Bound: 0.8},
		{ID: "P1", What: "the same to flannel udp", Figure: tcp(RowGSO, Weft), Over: tcp(RowGSO, FlannelUDP), Bound: 25},
		{ID: "P1", What: "the same to nebula", Figure: tcp(RowGSO, Weft), Over: tcp(RowGSO, Nebula), Bound: 2},
		{ID: "P1", What: "the same to wireguard-go", Figure: tcp(RowGSO, Weft), Over: tcp(RowGSO, WireGuardGo), Bound: 2},
		{ID: "P2", What: "one TCP stream, real segmentation, to kernel VXLAN", Figure: tcp(RowSegmented, Weft), Over: tcp(RowSegmented, Reference), Bound: 0.9},
		{ID: "P3", What: "64 B packets received, to kernel VXLAN", Figure: udp(Weft), Over: udp(Reference), Bound: 1},
		{ID: "P3", What: "the same to flannel udp", Figure: udp(Weft), Over: udp(FlannelUDP), Bound: 4},
		{ID: "P4", What: "latency p50 to kernel VXLAN", Figure: lat(P50, Weft), Over: lat(P50, Reference), AtMost: true, Bound: 1.5},
		{ID: "P4", What: "latency p50 to flannel udp", Figure: lat(P50, Weft), Over: lat(P50, FlannelUDP), AtMost: true, Bound: 1},
		{ID: "P4", What: "latency p99 to own p50", Figure: lat(P99, Weft), Over: lat(P50, Weft), AtMost: true, Bound: 3},
		{ID: "P5", What: "forwarders' CPU per GB to flannel udp", Figure: cpu(Weft), Over: cpu(FlannelUDP), AtMost: true, Bound: 1.0 / 15},
		{ID: "P5", What: "no payload copied or summed in user space", Elsewhere: "go test ./tunnel ./forwarder"},
		{ID: "P6", What: "resident memory under load, MB", Figure: fig(RowGSO, Memory, PeakRSS, Weft), AtMost: true, Bound: 40, Largest: true},
		{ID: "P6", What: "no allocation per packet", Elsewhere: "go test ./tunnel ./forwarder ./routes"},
		{ID: "P7", What: "route lookup", Elsewhere: "go test -bench . ./routes"},
		{ID: "P8", What: "two queues to one, 16 TCP streams", Figure: fig(RowGSO, TCP16, Gbps, WeftTwoQueue), Over: fig(RowGSO, TCP16, Gbps, WeftOneQueue), Bound: 1.6, Cores: 6},
		{ID: "P8", What: "packets of one flow out of order", Figure: fig(RowGSO, UDP64, Reordered, Weft), AtMost: true, Bound: 0, Largest: true},
	}, laneGoals("udp", WeftLane), laneGoals("vxlan", WeftLaneX), []Goal{
		{ID: "VXLAN", What: "one TCP stream, userspace to kernel, to kernel to kernel", Figure: tcp(RowGSO, UserToKernel), Over: tcp(RowGSO, KernelToKernel), Bound: 0.8},
		{ID: "VXLAN", What: "the same, kernel to userspace", Figure: tcp(RowGSO, KernelToUser), Over: tcp(RowGSO, KernelToKernel), Bound: 0.8},
		{ID: "VXLAN", What: "the same, userspace to userspace", Figure: tcp(RowGSO, UserToUser), Over: tcp(RowGSO, KernelToKernel), Bound: 0.8},
	})
}

// laneGoals are P9: what is asked of the eBPF lane in a network of one type, on both wire rows. The figures
// of P9 that name no row hold for each.
func laneGoals(kind, subject string) []Goal {
	var all []Goal
	ask := func(what, row, scenario string, m Metric, bound float64) {
		of := func(subject string) Figure { return Figure{Row: row, Scenario: scenario, Metric: m, Subject: subject} }
		all = append(all, Goal{
			ID: "P9", What: kind + " lane: " + what + " to kernel VXLAN", Figure: of(subject), Over: of(Reference),
			Bound: bound, AtMost: m.LessIsBetter(),
		})
	}
	ask("one TCP stream, GSO passing,", RowGSO, TCP1, Gbps, 1.3)
	ask("one TCP stream, real segmentation,", RowSegmented, TCP1, Gbps, 1)
	for _, row := range []struct{ name, what string }{{RowGSO, "GSO passing"}, {RowSegmented, "real segmentation"}} {
		ask("64 B packets, "+row.what+",", row.name, UDP64, PPS, 1.2)
		ask("latency p50, "+row.what+",", row.name, Latency, P50, 0.9)
	}
	return all
}

// A Verdict is what a run says about a goal.
type Verdict struct {
	Goal    Goal
	Reached Spread
	Unknown string // why nothing can be said; empty when something can
	Met     bool
}

// Judge holds the goal against a run. A goal that the run can't decide is neither reached nor missed.
func (g Goal) Judge(r *Run) Verdict {
	if g.Elsewhere != "" {
		return Verdict{Goal: g, Unknown: "shown by " + g.Elsewhere}
	}
	v := Verdict{Goal: g, Reached: r.Spread(g.Figure)}
	if g.Over != (Figure{}) {
		v.Reached = r.Ratio(g.Figure, g.Over)
	}
	switch {
	case !v.Reached.Known():
		v.Unknown = "not measured in this run"
	case r.Host.Cores < g.Cores:
		v.Unknown = fmt.Sprintf("%d cores can't show it: needs %d", r.Host.Cores, g.Cores)
	default:
		counts := v.Reached.Median
		if g.Largest {
			counts = v.Reached.Max
		}
		v.Met = counts >= g.Bound
		if g.AtMost {
			v.Met = counts <= g.Bound
		}
	}
	return v
}

// WriteGoals writes every goal with the ratio asked and the one reached.
func WriteGoals(w io.Writer, r *Run) error {
	grid := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(grid, "goal\twhat\tasked\treached\tfrom–to\tverdict")
	for _, g := range Goals() {
		v := g.Judge(r)
		reached, bounds, verdict := "–", "–", v.Unknown
		if v.Reached.Known() {
			reached = fmt.Sprintf("%.3g", v.Reached.Median)
			bounds = fmt.Sprintf("%.3g–%.3g", v.Reached.Min, v.Reached.Max)
		}
		if verdict == "" {
			verdict = map[bool]string{true: "reached", false: "missed"}[v.Met]
		}
		fmt.Fprintf(grid, "%s\t%s\t%s\t%s\t%s\t%s\n", g.ID, g.What, g.asked(), reached, bounds, verdict)
	}
	return grid.Flush()
}

// asked is the bound as a person reads it.
func (g Goal) asked() string {
	if g.Elsewhere != "" {
		return "–"
	}
	sign := "≥"
	if g.AtMost {
		sign = "≤"
	}
	return fmt.Sprintf("%s %.3g", sign, g.Bound)
}
