package perf

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"weft/perf/netlab"
	"weft/perf/report"
)

// A lane is the eBPF lane of one host, seen through its agent. That a subject carries the lane's name proves
// nothing: the userspace forwarder stands behind it and takes over without a word on the wire. So every sample
// is held against what the programs counted.
type lane struct {
	weft    string // the binary
	space   *netlab.Namespace
	private string // the agent's state directory; its socket and subnet file are named after it
}

// laneState is what matters here of `weft status --json`.
type laneState struct {
	Datapath struct{ Kind, Why, Better, Fault string }
	Lane     struct {
		On      bool
		Carried laneCounts
		Passed  map[string]uint64 // packets left to userspace, by cause
	}
}

// laneCounts are inner packets since the lane is there, a superpacket as one, and their bytes.
type laneCounts struct {
	EgressPackets  uint64 `json:"egress_packets"`
	EgressBytes    uint64 `json:"egress_bytes"`
	IngressPackets uint64 `json:"ingress_packets"`
	IngressBytes   uint64 `json:"ingress_bytes"`
}

// laneTraffic is one direction of a lane: what it carried, and the superpackets and runs of datagrams that it left to
// the forwarder because that is faster at them.
type laneTraffic struct{ packets, bytes, left uint64 }

func (s laneState) out() laneTraffic {
	c := s.Lane.Carried
	return laneTraffic{c.EgressPackets, c.EgressBytes, s.Lane.Passed["out_bulk"]}
}

func (s laneState) in() laneTraffic {
	c, left := s.Lane.Carried, uint64(0)
	// Forwarders' runs come as trains, or one by one with their remote checksums in GUE or in VXLAN's flags.
	for _, cause := range []string{"in_train", "in_bulk", "in_not_plain", "in_control"} {
		left += s.Lane.Passed[cause]
	}
	return laneTraffic{c.IngressPackets, c.IngressBytes, left}
}

// since is what was added.
func (t laneTraffic) since(before laneTraffic) laneTraffic {
	return laneTraffic{t.packets - before.packets, t.bytes - before.bytes, t.left - before.left}
}

// state asks the agent.
func (l *lane) state(ctx context.Context) (laneState, error) {
	out, err := l.space.Command(ctx, l.weft, "status", "--json", "--admin-socket="+l.private+".sock").Output()
	if err != nil {
		return laneState{}, fmt.Errorf("asking the agent in %s for its lane: %w", l.space.Name(), err)
	}
	return parseLane(out)
}

func parseLane(text []byte) (state laneState, err error) {
	if err = json.Unmarshal(text, &state); err != nil {
		return laneState{}, fmt.Errorf("reading the agent's state: %w", err)
	}
	return state, nil
}

// carries says why the lane isn't what carries packets, with the agent's own words; nil: it is.
func (s laneState) carries() error {
	d := s.Datapath
	if d.Kind == express && d.Fault == "" && s.Lane.On {
		return nil
	}
	return fmt.Errorf("%w: the agent's datapath is %q (%s): %s%s", errMissing, d.Kind, d.Why, d.Better, d.Fault)
}

// remove takes away what outlives the agent, and the lab too, since the BPF file system is the whole machine's.
func (l *lane) remove() error {
	if l == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	out, err := l.space.Command(ctx, l.weft, "cleanup", "--state-dir="+l.private, "--subnet-file="+l.private+".none").CombinedOutput()
	if err != nil {
		return fmt.Errorf("removing the lane in %s: %w: %s", l.space.Name(), err, bytes.TrimSpace(out))
	}
	return nil
}

// lanePatience is how long an agent that is ready may take to attach its lane.
const lanePatience = 10 * time.Second

// awaitLanes waits until the lanes carry packets. A lane that can't be had here is a reason to skip the
// subject: its agent goes on in user space, which is another subject.
func (f *fabric) awaitLanes(ctx context.Context) error {
	return await(ctx, lanePatience, "the lanes of "+f.name, f.processes(), func() error {
		for _, l := range f.lanes {
			if l == nil {
				continue
			}
			state, err := l.state(ctx)
			if err == nil {
				err = state.carries()
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// readLanes reads the lanes' states, empty ones where there is none.
func (f *fabric) readLanes(ctx context.Context) (states [2]laneState, err error) {
	for i, l := range f.lanes {
		if l == nil {
			continue
		}
		if states[i], err = l.state(ctx); err == nil {
			err = states[i].carries()
		}
		if err != nil {
			return states, fmt.Errorf("host %d: %w", i+1, err)
		}
	}
	return states, nil
}

// proveLanes puts the lanes' shares of a sample into its values, and refuses the sample where a lane that
// should have carried it didn't.
func (f *fabric) proveLanes(ctx context.Context, before [2]laneState, m measured) error {
	after, err := f.readLanes(ctx)
	if err != nil {
		return err
	}
	if f.lanes[0] != nil {
		err = m.judge(report.LaneOut, "out of the sending host", after[0].out().since(before[0].out()))
	}
	if f.lanes[1] != nil && err == nil {
		err = m.judge(report.LaneIn, "into the receiving host", after[1].in().since(before[1].in()))
	}
	return err
}

// leastShare is what has to go by a lane's decision for a sample to be one of it. The first packets go by userspace,
// until the kernel knows the neighbour, and so do fragments; nothing of that comes near a half.
const leastShare = 0.5

// judge notes a lane's share of a sample, and says where it stood aside.
func (m measured) judge(metric report.Metric, way string, t laneTraffic) error {
	carried, decided := m.share(t)
	m.values[metric] = carried
	if decided < leastShare {
		return fmt.Errorf("the lane carried %.0f %% of the load %s, so this is no figure of the lane: see weft status", 100*carried, way)
	}
	return nil
}

// share is the part of what arrived that a lane had carried: by bytes, or by packets where only exchanges were
// counted. decided includes what it left to the forwarder on purpose, whose bytes it doesn't count: as if
// each superpacket had been as large as one can be.
func (m measured) share(t laneTraffic) (carried, decided float64) {
	const largest = 65535
	switch {
	case m.bytes > 0:
		return float64(t.bytes) / float64(m.bytes), float64(t.bytes+largest*t.left) / float64(m.bytes)
	case m.exchanges > 0:
		return float64(t.packets) / float64(m.exchanges), float64(t.packets+t.left) / float64(m.exchanges)
	}
	return 0, 0
}
