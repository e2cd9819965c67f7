package main

import (
	"fmt"
	"os"
	"testing"

	"weft/cmd/internal/admin"
	"weft/kernelmode"
	"weft/kernelmode/express"
	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// needLane skips where the kernel takes no eBPF lane.
func (w *world) needLane() {
	w.Helper()
	var obstacle error
	err := w.lab.Host(1).Do(func() error { obstacle, _ = express.Probe(""); return nil })
	if err != nil || obstacle != nil {
		labtest.Missing(w.T, fmt.Errorf("the kernel takes no eBPF lane: %w", firstOf(err, obstacle)))
	}
}

func firstOf(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// lane is what host n's eBPF lane is and has done so far, as its agent tells.
func (w *world) lane(n int) admin.Lane {
	w.Helper()
	state, err := w.state(n)
	if err != nil || state.Lane == nil {
		w.Fatalf("host %d has no lane: %+v, %v", n, state.Datapath, err)
	}
	return *state.Lane
}

// inLane waits until host n's packets go through its lane, with so many peers.
func (w *world) inLane(n, peers int) (state admin.State) {
	w.Helper()
	w.until(fmt.Sprintf("host %d in the lane", n), func() (err error) {
		state, err = w.state(n)
		there := state.Datapath.Kind == "express" && state.Lane != nil && state.Lane.On
		if d := state.Datapath; err == nil && (!there || d.Fault != "" || !state.Ready || len(state.Peers) != peers) {
			err = fmt.Errorf("ready %t, %d peers, datapath %q: %s; %s%s", state.Ready, len(state.Peers), d.Kind, d.Why, d.Better, d.Fault)
		}
		return err
	})
	return state
}

// throughLane asserts that host n's lane carried at least so many bytes outward and inward while f ran. That packets
// arrive proves nothing: userspace stands behind the lane, and carries what it doesn't.
func (w *world) throughLane(n int, out, in uint64, f func()) {
	w.Helper()
	before := w.lane(n)
	f()
	after := w.lane(n)
	more := func(kind string) uint64 { return after.Carried[kind] - before.Carried[kind] }
	if o, i := more("egress_bytes"), more("ingress_bytes"); o < out || i < in {
		w.Errorf("host %d's lane carried %d bytes out and %d in, want at least %d and %d\nbefore: %+v\nafter: %+v", n, o, i, out, in, before, after)
	}
}

// newLanes starts hosts with lanes and a container each.
func newLanes(t *testing.T, hosts int, config string, args ...string) (*world, []*netlab.Container) {
	t.Helper()
	w := newWorld(t, hosts)
	w.needLane()
	w.startEtcd()
	w.setConfig(config)
	for n := 1; n <= hosts; n++ {
		w.startAgent(n, append([]string{"--datapath", "express"}, args...)...)
	}
	var containers []*netlab.Container
	for n := 1; n <= hosts; n++ {
		w.inLane(n, hosts-1)
		containers = append(containers, w.addContainer(n, fmt.Sprintf("c%d", n)))
	}
	return w, containers
}

// clearLane ends what runs, and takes away what outlives it: the BPF file system is the whole machine's, where a
// lab's namespace leaves its pins behind.
func clearLane(t *testing.T, where *netlab.Namespace) {
	t.Helper()
	if _, err := os.Stat(express.DefaultPins); err != nil {
		return // nobody has pinned anything
	}
	if err := where.Do(func() error { return express.Remove("", kernelmode.DefaultDevice) }); err != nil {
		t.Error(err)
	}
}
