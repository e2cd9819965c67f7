package main

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"weft/cmd/internal/admin"
	"weft/lease"
	"weft/perf/netlab"
)

// The figures asked for a switch under traffic. They depend on how busy the machine is, and so are asserted in
// the long run alone (WEFT_SWITCH=1m for each pair of datapaths), which is for a quiet one.
const (
	mostStall     = 100 * time.Millisecond
	mostLost      = 20 // datagrams of 10,000 a second: 2 ms
	mostLostLane  = 1  // the same where the lane is laid in front of userspace, or lifted
	switchEvery   = 2 * time.Second
	shortSwitches = 4
	shortEvery    = time.Second
)

// A circuit is two datapaths between which hosts switch.
type circuit struct {
	network  string
	from, to string
	lost     int // datagrams a switch, at most
}

// vxlanNetwork has IPv4 alone.
const vxlanNetwork = `{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`

// Two hosts switch in turn between two datapaths, both ways and through every mixture, under a TCP connection
// and 10,000 datagrams a second. The connection never breaks and nothing is altered.
func TestSwitchUnderTraffic(t *testing.T) {
	for _, c := range []circuit{
		{vxlanNetwork, "userspace", "kernel", mostLost},
		{testConfig, "userspace", "express", mostLostLane},
		{vxlanNetwork, "express", "kernel", mostLost},
	} {
		t.Run(fmt.Sprintf("%s and %s", c.from, c.to), c.run)
	}
}

func (c circuit) run(t *testing.T) {
	switches, every, long := shortSwitches, shortEvery, false
	if text := os.Getenv("WEFT_SWITCH"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < switchEvery {
			t.Fatalf("WEFT_SWITCH=%s: want a duration of at least %v, such as 1m", text, switchEvery)
		}
		switches, every, long = int(d/switchEvery), switchEvery, true
	}
	w, containers := newPair(t, c.network, "--datapath", c.from)
	flow := startFlow(t, containers[0], containers[1])
	flood := startFlood(t, containers[0], containers[1], time.Duration(switches+3)*every+patience)
	w.flowing(flood, 1000)

	flow.worst()
	steps := make([]step, 0, switches)
	tick := time.NewTicker(every)
	defer tick.Stop()
	first, calm := flood.sent.Load(), []step{}
	for i := range switches {
		<-tick.C
		// What this machine stalls a stream for, and loses, without any switching.
		calm = append(calm, step{first: first, last: flood.sent.Load() - onItsWay, stall: flow.worst()})
		first = calm[i].last
		s := step{host: i%2 + 1, to: []string{c.to, c.to, c.from, c.from}[i%4], first: first}
		w.switchTo(s.host, s.to)
		// Half way to the next switch everything that this one did has happened.
		time.Sleep(every / 4)
		s.stall, s.last = flow.worst(), flood.sent.Load()-onItsWay
		steps, first = append(steps, s), s.last
	}
	bytes, err := flow.end()
	flood.end()
	if err != nil {
		t.Errorf("the TCP connection broke: %v", err)
	}
	if n := flood.corrupt.Load(); n != 0 {
		t.Errorf("%d datagrams were altered on the way", n)
	}
	reportSteps(t, steps, flood)
	if long {
		c.judge(t, steps, flood)
	}
	lost, stall := 0, time.Duration(0)
	for _, s := range calm {
		lost, stall = lost+flood.lost(s.first, s.last), max(stall, s.stall)
	}
	t.Logf("between the switches: %d datagrams lost, TCP stalled for %v at most", lost, stall.Round(100*time.Microsecond))
	t.Logf("%d switches; %d MB over one TCP connection; %d datagrams, %d of them twice, %d not sent", switches,
		bytes>>20, flood.sent.Load(), flood.twice.Load(), flood.refused.Load())
}

// onItsWay is how many datagrams at most are under way at a time, on an idle machine: 10 ms.
const onItsWay = floodRate / 100

// A step is one switch and what happened around it.
type step struct {
	host        int
	to          string
	first, last uint64 // datagrams sent around it
	stall       time.Duration
}

// judge holds what each switch cost against the figures.
func (c circuit) judge(t *testing.T, steps []step, flood *flood) {
	t.Helper()
	for i, s := range steps {
		if lost := flood.lost(s.first, s.last); lost > c.lost || s.stall > mostStall {
			t.Errorf("switch %d: %d lost, %v without a byte: want at most %d and %v", i+1, lost, s.stall, c.lost, mostStall)
		}
	}
}

// reportSteps logs what each switch cost.
func reportSteps(t *testing.T, steps []step, flood *flood) {
	t.Helper()
	var all []int
	var stalls []time.Duration
	for i, s := range steps {
		lost := flood.lost(s.first, s.last)
		t.Logf("switch %d, host %d to %s: %d of %d datagrams lost, TCP stalled for %v at most", i+1, s.host, s.to,
			lost, s.last-s.first, s.stall.Round(100*time.Microsecond))
		all, stalls = append(all, lost), append(stalls, s.stall)
	}
	t.Logf("worst: %d datagrams lost, TCP stalled for %v", slices.Max(all), slices.Max(stalls))
	if total := flood.lost(0, flood.sent.Load()); total > int(flood.sent.Load()/2) {
		t.Errorf("%d of %d datagrams lost: that is no switching but an outage", total, flood.sent.Load())
	}
}

// newPair starts two hosts with a container each on a network.
func newPair(t *testing.T, config string, args ...string) (*world, []*netlab.Container) {
	t.Helper()
	w := newWorld(t, 2)
	w.needVXLAN()
	w.needLane()
	w.startEtcd()
	w.setConfig(config)
	for n := 1; n <= 2; n++ {
		w.startAgent(n, args...)
	}
	var containers []*netlab.Container
	for n := 1; n <= 2; n++ {
		w.ready(n, 1)
		containers = append(containers, w.addContainer(n, fmt.Sprintf("c%d", n)))
	}
	w.resumed(containers[0], containers[1], time.Now())
	return w, containers
}

// flowing waits until so many datagrams have arrived.
func (w *world) flowing(f *flood, n uint64) {
	w.Helper()
	w.until("datagrams arriving", func() error {
		if sent := f.sent.Load(); sent < n || uint64(f.lost(0, n)) > n/10 {
			return fmt.Errorf("%d sent, %d of the first %d not there", sent, f.lost(0, min(n, sent)), n)
		}
		return nil
	})
}

// The network config says another encapsulation: running hosts change over, into the kernel where that
// works (auto) and back out of it into the lane, and the TCP connection that was open goes on.
func TestConfigMovesARunningHost(t *testing.T) {
	w, containers := newPair(t, testConfig, "--datapath", "auto")
	client := w.etcd()
	flow := startFlow(t, containers[0], containers[1])
	for _, change := range []struct{ config, kind string }{
		{vxlanNetwork, "kernel"},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}`, "kernel"},
		{testConfig, "express"},
		{vxlanNetwork, "kernel"},
	} {
		flow.worst()
		w.put(client, configKeyOfTests, change.config)
		for n := 1; n <= 2; n++ {
			w.becomes(n, change.config, func(s admin.State) string {
				if s.Datapath.Kind != change.kind || len(s.Peers) != 1 || s.Network.BackendType != typeOf(t, change.config) {
					return fmt.Sprintf("datapath %s of %s, %d peers", s.Datapath.Kind, s.Network.BackendType, len(s.Peers))
				}
				return ""
			})
		}
		w.until("packets", func() error { return transfer(containers[0], containers[1], 100_000, patience) })
		t.Logf("%s: TCP stalled for %v", change.config, flow.worst().Round(time.Millisecond))
	}
	if bytes, err := flow.end(); err != nil || bytes == 0 {
		t.Errorf("the TCP connection broke after %d bytes: %v", bytes, err)
	}
}

func typeOf(t *testing.T, text string) string {
	t.Helper()
	c, err := lease.ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c.BackendType
}
