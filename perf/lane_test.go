package perf

import (
	"errors"
	"strings"
	"testing"

	"weft/perf/report"
)

// What an agent says of its lane, as `weft status --json` prints it.
const laneText = `{"version":"1","datapath":{"kind":"express","why":"asked for","offloads":{"tso":true}},
	"lane":{"on":true,"underlay":"eth0","carried":{"egress_bytes":9000,"egress_packets":7,"ingress_bytes":260,"ingress_packets":5},"passed":{"out_no_hop":1,"out_bulk":3,"in_train":2,"in_bulk":4}}}`

func TestLaneState(t *testing.T) {
	state, err := parseLane([]byte(laneText))
	if err != nil || state.out() != (laneTraffic{7, 9000, 3}) || state.in() != (laneTraffic{5, 260, 6}) || state.carries() != nil {
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

// A sample of a lane is one only if the lane decided about it, by bytes where the load is bytes and by packets where
// it is exchanges.
func TestLaneHasToCarryItsSample(t *testing.T) {
	bulk, pings := measured{bytes: 1_000_000}, measured{exchanges: 100}
	for _, c := range []struct {
		what  string
		of    measured
		lane  laneTraffic
		share float64
		holds bool
	}{
		{"bulk in superpackets", bulk, laneTraffic{16, 1_040_000, 0}, 1.04, true},
		{"bulk beside the lane, acknowledgements in it", bulk, laneTraffic{900, 40_000, 0}, 0.04, false},
		{"bulk left to the forwarder", bulk, laneTraffic{900, 40_000, 17}, 0.04, true},
		{"hardly any of it left to the forwarder", bulk, laneTraffic{900, 40_000, 3}, 0.04, false},
		{"messages", pings, laneTraffic{103, 9000, 0}, 1.03, true},
		{"messages beside the lane", pings, laneTraffic{2, 9000, 0}, 0.02, false},
		{"nothing at all", measured{}, laneTraffic{5, 5, 5}, 0, false},
	} {
		before := laneTraffic{11, 13, 17}
		after := laneTraffic{before.packets + c.lane.packets, before.bytes + c.lane.bytes, before.left + c.lane.left}
		c.of.values = map[report.Metric]float64{}
		err := c.of.judge(report.LaneIn, "into the receiving host", after.since(before))
		if share := c.of.values[report.LaneIn]; (err == nil) != c.holds || share < c.share-1e-9 || share > c.share+1e-9 {
			t.Errorf("%s: share %v, %v: want %v", c.what, share, err, c.share)
		}
	}
}
