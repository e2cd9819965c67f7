package doctor

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"

	"weft/kernelmode"
)

// Every datapath is tried, and what stands in the way of one is named with its remedy.
func TestWays(t *testing.T) {
	tried := map[kernelmode.Feature]bool{}
	all := ways(func(f kernelmode.Feature) kernelmode.Capability {
		tried[f] = true
		if f == kernelmode.FeatureIPIP {
			return kernelmode.Capability{Feature: f, Obstacle: kernelmode.NoModule, Err: syscall.EOPNOTSUPP, Remedy: "boot another kernel"}
		}
		return kernelmode.Capability{Feature: f}
	})
	if len(tried) != 3 || len(all) != 3 {
		t.Fatalf("tried %v for %+v", tried, all)
	}
	for _, w := range all {
		if w.Works == (w.For == "ipip") || w.Works != (w.Obstacle == "") || w.Works != (w.Remedy == "") {
			t.Errorf("%+v", w)
		}
	}
	lane := laneWay(kernelmode.Capability{Feature: "express"}, errors.New("only just"))
	if !lane.Works || lane.Limit != "only just" {
		t.Errorf("%+v", lane)
	}
	all = append(all, lane)
	if none := laneWay(kernelmode.Capability{Obstacle: kernelmode.NoPrivilege, Err: syscall.EPERM}, nil); none.Works || none.Limit != "" || none.Why == "" {
		t.Errorf("%+v", none)
	}
	var out strings.Builder
	tw := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	writeWays(tw, all)
	if err := tw.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"but only just", "kernel     vxlan             yes   -", "ipip              no    no_module: operation not supported", "→ boot another kernel"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
