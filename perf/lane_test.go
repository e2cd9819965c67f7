package perf

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	ebpf "weft/kernelmode/express"
	"weft/perf/report"
)

// What an agent says of its lane, as `weft status --json` prints it.
const laneText = `{"version":"1","datapath":{"kind":"express","why":"asked for","offloads":{"tso":true}},
	"lane":{"egress":{"packets":7,"bytes":9000},"ingress":{"packets":5,"bytes":260},"drops":{"martian":0},"passed":{"out_no_hop":1}}}`

func TestLaneState(t *testing.T) {
	state, err := parseLane([]byte(laneText))
	want := laneCounts{Egress: laneTraffic{7, 9000}, Ingress: laneTraffic{5, 260}}
	if err != nil || state.Lane != want || state.carries() != nil {
		t.Errorf("%+v, %v, carries: %v", state, err, state.carries())
	}
	for text, says := range map[string]string{
		`{"datapath":{"kind":"userspace","why":"asked for express","better":"give it CAP_BPF"}}`: "give it CAP_BPF",
		`{"datapath":{"kind":"express","why":"asked for","fault":"somebody has detached it"}}`:   "somebody has detached it",
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

// The names of the counts are those of the lane's own package.
func TestLaneCountsAreTheLanes(t *testing.T) {
	var from ebpf.Counters
	from.Egress.Packets, from.Egress.Bytes, from.Ingress.Packets, from.Ingress.Bytes = 1, 2, 3, 4
	state, err := parseLane(mustJSON(t, map[string]any{"lane": from}))
	if err != nil || state.Lane != (laneCounts{laneTraffic{1, 2}, laneTraffic{3, 4}}) {
		t.Errorf("%+v, %v", state.Lane, err)
	}
}

func mustJSON(t *testing.T, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
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
		before := laneTraffic{Packets: 11, Bytes: 13}
		after := laneTraffic{before.Packets + c.carried.Packets, before.Bytes + c.carried.Bytes}
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
