package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// Somebody takes the lane's programs away, in each way that there is for it: packets go by userspace meanwhile, the
// status counts it, and the programs come back. Who does it again and again gets his way.
func TestDetachedLane(t *testing.T) {
	w, containers := newLanes(t, 2, testConfig)
	host := w.lab.Host(1)
	flow := startFlow(t, containers[0], containers[1])
	for i, device := range []string{"weft0", host.Device()} {
		if err := host.Do(func() error { return detach(device) }); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		w.until("the programs back on "+device, func() error {
			if lane := w.lane(1); !lane.On || lane.Detached != uint64(i+1) {
				return fmt.Errorf("%+v", lane)
			}
			return nil
		})
		t.Logf("taken off %s, and back within %v, TCP without a byte for %v at most", device, time.Since(began).Round(time.Millisecond), flow.worst().Round(time.Millisecond))
		w.throughLane(1, transferBytes, transferBytes, func() { w.allPairs(containers) })
	}
	if _, out := w.run(host.Namespace, "status", "--admin-socket", w.socket(1)); !strings.Contains(out, "taken away by somebody 2 times") {
		t.Errorf("weft status doesn't tell of it:\n%s", out)
	}

	// A slow machine may be past the minute within which it counts.
	again := uint64(2)
	w.until("userspace, after so many times", func() error {
		state, err := w.state(1)
		if err != nil || state.Datapath.Kind == "userspace" {
			return err
		}
		if state.Lane.Detached == again {
			again++
			err = host.Do(func() error { return detach(host.Device()) })
		}
		return firstOf(err, errors.New("it still is in the lane"))
	})
	state, err := w.state(1)
	if err != nil || state.Lane == nil || state.Lane.On || !strings.Contains(state.Datapath.Why, "took the lane's programs away") {
		t.Errorf("after too many times: %+v, lane %+v, %v", state.Datapath, state.Lane, err)
	}
	w.allPairs(containers)
	if bytes, err := flow.end(); err != nil || bytes == 0 {
		t.Errorf("the TCP connection broke after %d bytes: %v", bytes, err)
	}
}

// detach takes every tc program off a device, of whichever kind, as another program's mistake would.
func detach(device string) error {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	index := l.Attrs().Index
	for _, way := range []struct {
		attach ebpf.AttachType
		parent uint32
	}{{ebpf.AttachTCXIngress, netlink.HANDLE_MIN_INGRESS}, {ebpf.AttachTCXEgress, netlink.HANDLE_MIN_EGRESS}} {
		filters, err := netlink.FilterList(l, way.parent)
		if err == nil {
			for _, f := range filters {
				_ = netlink.FilterDel(f) // it may have gone by itself
			}
		}
		all, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: way.attach})
		if err != nil {
			continue // no links on this kernel
		}
		for _, p := range all.Programs {
			if id, ok := p.LinkID(); ok {
				if err := detachLink(id); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func detachLink(id link.ID) error {
	l, err := link.NewFromID(id)
	if err != nil {
		return fmt.Errorf("opening link %d: %w", id, err)
	}
	defer l.Close()
	return l.Detach()
}

// A container that isn't allowed to load programs gets what it can have, userspace, and is told what it lacks.
func TestLaneNeedsRights(t *testing.T) {
	setpriv := labtest.NeedProgram(t, "setpriv", "util-linux")
	w := newWorld(t, 2)
	w.needLane()
	w.startEtcd()
	w.setConfig(testConfig)
	w.by = []string{setpriv, "--bounding-set=-bpf,-sys_admin,-perfmon"}
	agent := w.startAgent(1, laneOnly...)
	w.by = nil
	w.startAgent(2, laneOnly...)
	state := w.ready(1, 1)
	w.inLane(2, 1)
	if d := state.Datapath; d.Kind != "userspace" || !strings.Contains(d.Why, "CAP_BPF") || d.Better == "" || d.Obstacle != "no_privilege" {
		t.Errorf("datapath without CAP_BPF: %+v", d)
	}
	if said := agent.said(); !strings.Contains(said, "CAP_BPF") {
		t.Errorf("the log doesn't say so:\n%s", said)
	}
	containers := []*netlab.Container{w.addContainer(1, "c1"), w.addContainer(2, "c2")}
	w.throughLane(2, transferBytes, 0, func() { w.allPairs(containers) })
	if result := w.switches(1, "express"); !strings.Contains(result.Error, "CAP_BPF") || result.Datapath != "userspace" {
		t.Errorf("weft switch express: %+v", result)
	}
	w.allPairs(containers)
}
