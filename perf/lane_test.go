package perf

import (
	"errors"
	"strings"
	"testing"

	"weft/perf/report"
)

// What an agent says of its lane, as `weft status --json` prints it.
const laneText = `{"version":"1","datapath":{"kind":"express","why":"asked for","offloads":{"tso":true}},
	"lane":{"on":true,"underlay":"eth0","carried":{"egress_bytes":9000,"egress_packets":7,"ingress_bytes":260,"ingress_packets":5},"passed":{"out_no_hop":1}}}`

func TestLaneState(t *testing.T) {
	state, err := parseLane([]byte(laneText))
	counts := state.Lane.Carried
	if err != nil || counts.out() != (laneTraffic{7, 9000}) || counts.in() != (laneTraffic{5, 260}) || state.carries() != nil {
		t.Errorf("%+v, %v, carries: %v", state, err, state.carries())
	}
	for text, says := range map[string]string{
		`{"datapath":{"kind":"userspace","why":"asked for express","better":"give it CAP_BPF"}}`: "give it CAP_BPF",
		`{"datapath":{"kind":"express","fault":"somebody has detached it"},"lane":{"on":true}}`:  "somebody has detached it",
		`{"datapath":{"kind":"express"},"lane":{"on":false}}`:                                    `datapath is "express"`,
		`{}`: `datapath is ""`,
	} {
		state, err := parseLane([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := state.carries(); !errors.Is(err, errMissing) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
	if _, err := parseLane([]byte("no agent answers")); err == nil {
		t.Error("an error message is taken for a state")
	}
}

// A sample of a lane is one only if the lane carried it, by bytes where the load is bytes and by packets where
// it is exchanges.
func TestLaneHasToCarryItsSample(t *testing.T) {
	bulk, pings := measured{bytes: 1000}, measured{exchanges: 100}
	for _, c := range []struct {
		what    string
		of      measured
		carried laneTraffic
		share   float64
	}{
		{"bulk in superpackets", bulk, laneTraffic{1, 1040}, 1.04},
		{"bulk beside the lane, acknowledgements in it", bulk, laneTraffic{90, 40}, 0.04},
		{"messages", pings, laneTraffic{103, 9000}, 1.03},
		{"messages beside the lane", pings, laneTraffic{2, 9000}, 0.02},
		{"nothing at all", measured{}, laneTraffic{5, 5}, 0},
	} {
		before := laneTraffic{packets: 11, bytes: 13}
		after := laneTraffic{before.packets + c.carried.packets, before.bytes + c.carried.bytes}
		share := c.of.share(before, after)
		if share < c.share-1e-9 || share > c.share+1e-9 {
			t.Errorf("%s: share %v, want %v", c.what, share, c.share)
		}
		f := &fabric{}
		for _, metric := range []report.Metric{report.LaneOut, report.LaneIn} {
			if err := f.judgeLanes(map[report.Metric]float64{metric: share}); (err == nil) != (c.share >= 1) {
				t.Errorf("%s, %s: %v", c.what, metric, err)
			}
		}
		f.trains = true
		if err := f.judgeLanes(map[report.Metric]float64{report.LaneIn: share}); err != nil {
			t.Errorf("%s, trains from user space: %v", c.what, err)
		}
	}
}
