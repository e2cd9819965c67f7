package main

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"weft/perf/netlab"
)

// Agents are killed under a TCP connection and 10,000 datagrams a second, the sending host's and the receiving
// one's: their lanes go on without them, the next agents take over, and nothing is lost. What changed in the
// store meanwhile, a host that has joined, is followed after the start.
func TestKilledAgentsLaneGoesOn(t *testing.T) {
	w := newWorld(t, 3)
	w.needLane()
	w.startEtcd()
	w.setConfig(testConfig)
	agents := map[int]*program{1: w.startAgent(1, laneOnly...), 2: w.startAgent(2, laneOnly...)}
	containers := map[int]*netlab.Container{}
	for n := 1; n <= 2; n++ {
		w.inLane(n, 1)
		containers[n] = w.addContainer(n, []string{"", "c1", "c2"}[n])
	}
	w.resumed(containers[1], containers[2], time.Now())
	flow := startFlow(t, containers[1], containers[2])
	flood := startFlood(t, containers[1], containers[2], 6*patience)
	w.flowing(flood, 1000)

	for n := 1; n <= 2; n++ {
		// What a busy machine loses anyway comes and goes; a gap in the lane would come each time.
		for attempt, lost := 1, 1; lost > 0; attempt++ {
			flow.worst()
			first := flood.sent.Load()
			agents[n].end(t, syscall.SIGKILL)
			w.sends(flood, floodRate) // a second's worth without an agent
			agents[n] = w.startAgent(n, laneOnly...)
			w.inLane(n, 1)
			w.sends(flood, floodRate/2)
			last := flood.sent.Load() - onItsWay
			lost = flood.settled(first, last)
			t.Logf("host %d's agent killed and started again, attempt %d: %d of %d datagrams lost, TCP without a byte for %v at most", n, attempt,
				lost, last-first, flow.worst().Round(time.Millisecond))
			if lost > 0 && attempt == killAttempts {
				t.Fatalf("host %d lost datagrams in each of %d attempts", n, attempt)
			}
		}
	}

	agents[1].end(t, syscall.SIGKILL)
	w.startAgent(3, laneOnly...)
	w.inLane(3, 2)
	containers[3] = w.addContainer(3, "c3")
	began := time.Now()
	w.startAgent(1, laneOnly...)
	if state := w.inLane(1, 2); !hasPeer(state, w.lab.Host(3).Addr.String()) {
		t.Errorf("host 1 doesn't know the host that joined: %v", state.Peers)
	}
	t.Logf("a host that joined while the agent was dead is in the lane's routes %v after the next start", time.Since(began).Round(time.Millisecond))
	w.inLane(1, 2)
	w.throughLane(1, transferBytes, transferBytes, func() {
		w.allPairs([]*netlab.Container{containers[1], containers[3]})
	})

	if bytes, err := flow.end(); err != nil || bytes == 0 {
		t.Errorf("the TCP connection broke after %d bytes: %v", bytes, err)
	}
	flood.end()
	if n := flood.corrupt.Load(); n != 0 {
		t.Errorf("%d datagrams were altered on the way", n)
	}
}

// killAttempts is in how many attempts a killed agent has to lose something for that to be its doing.
const killAttempts = 3

// laneOnly has an agent use the lane.
var laneOnly = []string{"--datapath", "express"}

// sends waits until a flood has sent so many more datagrams.
func (w *world) sends(f *flood, n uint64) {
	w.Helper()
	first := f.sent.Load()
	w.until("datagrams being sent", func() error {
		if f.sent.Load() < first+n {
			return errors.New("not that many yet")
		}
		return nil
	})
}

// settled counts what was lost of the datagrams from first up to and without last, when none of them comes any more.
func (f *flood) settled(first, last uint64) int {
	lost, since := f.lost(first, last), time.Now()
	for lost > 0 && time.Since(since) < time.Second {
		time.Sleep(10 * time.Millisecond)
		if now := f.lost(first, last); now < lost {
			lost, since = now, time.Now()
		}
	}
	return lost
}
