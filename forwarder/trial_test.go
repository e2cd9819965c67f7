package forwarder

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/routes"
	"weft/tunnel"
)

// answers are how many echoes of the run, and of those alone, came back.
type returned struct{ inRun, alone int }

func (r returned) bits() uint16 { return 1<<r.inRun - 1 | (1<<r.alone-1)<<trialRun }

func TestTrialBelievesAfterThree(t *testing.T) {
	whole, lost, silent := returned{8, 8}, returned{0, 8}, returned{0, 0}
	for _, c := range []struct {
		name  string
		comes []returned
		off   bool
	}{
		{"nothing yet", nil, false},
		{"twice lost", []returned{lost, lost}, false},
		{"three times lost", []returned{lost, lost, lost}, true},
		{"a doubt takes one back", []returned{lost, lost, whole, lost}, false},
		{"and is overcome", []returned{lost, lost, whole, lost, lost}, true},
		{"bad path between", []returned{lost, silent, lost, silent, lost}, true},
		{"no answers at all", []returned{silent, silent, silent, silent, silent}, false},
		{"nearly lost, and some of those alone", []returned{{2, 6}, {2, 6}, {2, 6}}, true},
		{"half lost", []returned{{4, 8}, {4, 8}, {4, 8}, {5, 8}, {3, 8}}, false},
		{"all of it thinned out", []returned{{2, 5}, {1, 4}, {0, 5}, {2, 2}}, false},
		{"off, and twice whole", []returned{lost, lost, lost, whole, whole}, true},
		{"on again after three", []returned{lost, lost, lost, whole, whole, whole}, false},
		{"off stays while nobody answers", []returned{lost, lost, lost, silent, silent, silent}, true},
	} {
		hop := new(routes.Hop)
		one := trial{hop: hop}
		for i, r := range c.comes {
			one.back = r.bits()
			before := hop.Runs.Off.Load()
			if changed := one.judge(time.Now()); changed != (before != hop.Runs.Off.Load()) {
				t.Errorf("%s: trial %d: changed %v, off %v before and %v after", c.name, i, changed, before, !before)
			}
		}
		if got := hop.Runs.Off.Load(); got != c.off {
			t.Errorf("%s: off %v, want %v", c.name, got, c.off)
		}
	}
}

func TestTrialsGrowSeldom(t *testing.T) {
	hop, now := new(routes.Hop), time.Now()
	one := trial{hop: hop, seen: now}
	for _, want := range []time.Duration{5, 10, 20, 40, 60, 60} {
		one.back = returned{8, 8}.bits()
		one.judge(now)
		if rest := one.next.Sub(now); rest != want*time.Second {
			t.Errorf("the next trial comes after %v, want %d s", rest, want)
		}
	}
	one.back = returned{0, 8}.bits()
	if one.judge(now); !one.due(now) {
		t.Error("a suspicion isn't looked into at once")
	}
	if one.due(now.Add(2 * trialCurrent)) {
		t.Error("without runs to send there is nothing to look into")
	}
}

// TestEchoesOfATrial: those in the run are one run, whatever the rest is.
func TestEchoesOfATrial(t *testing.T) {
	one := trial{hop: &routes.Hop{Outer: peerOuter}}
	for size, want := range map[int]int{1400: 1400, 3: tunnel.EchoLen, 65000: trialMost} {
		out, _ := one.begin(nil, size)
		runs := tunnel.PlanRuns(nil, out, tunnel.RunLimits{Segments: 63, Bytes: 65507})
		if len(out) != 16 || len(runs) != 9 || runs[4].Count != trialRun || runs[4].SegmentSize != want {
			t.Fatalf("size %d: %d echoes in runs %v", size, len(out), runs)
		}
		for i, d := range out {
			e, ok := tunnel.ParseEcho(d.Payload)
			if !ok || e.Answer || e.Token != one.token || d.Alone == (e.Place < trialRun) || (i >= 4 && i < 12) == d.Alone {
				t.Errorf("echo %d: %+v, whole %v, alone %v", i, e, ok, d.Alone)
			}
		}
	}
}

// A runless conn counts how often its runs were turned off.
type runless struct {
	sink
	why []string
}

func (r *runless) TurnOffRuns(why string) { r.why = append(r.why, why) }

// TestRunsGoOffForTheHostWhereNoPeerGetsThem: three peers and nobody else.
func TestRunsGoOffForTheHostWhereNoPeerGetsThem(t *testing.T) {
	for _, oneIsFine := range []bool{false, true} {
		conn := new(runless)
		conn.local = netip.MustParseAddrPort("192.0.2.1:8285")
		lanes := newLanes(&Worker{Conns: []tunnel.Conn{conn}})
		ts := newTrials(&Config{MTU: 1400, Log: slog.New(slog.DiscardHandler)}, &lanes)
		now := time.Now()
		for i := range hostFault + 1 {
			hop := &routes.Hop{Outer: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:8285", i+2))}
			ts.watch(hop)
			came := returned{0, 8}
			if i == 0 {
				if !oneIsFine {
					continue
				}
				came = returned{8, 8}
			}
			for range trialsToBelieve {
				ts.byHop[hop].token, ts.byHop[hop].back = 1, came.bits()
				ts.step(now)
			}
		}
		if oneIsFine != (len(conn.why) == 0) {
			t.Errorf("runs arrive at one peer %v: turned off %q", oneIsFine, conn.why)
		}
		if !oneIsFine && len(conn.why) > 0 && !strings.Contains(conn.why[0], "none of 3 peers") {
			t.Errorf("the reason is %q", conn.why[0])
		}
	}
}

func TestTrialsAreForgotten(t *testing.T) {
	lanes := newLanes(&Worker{})
	ts := newTrials(&Config{MTU: 1400}, &lanes)
	hop, now := &routes.Hop{Outer: peerOuter}, time.Now()
	ts.watch(hop)
	hop.Runs.Off.Store(true)
	ts.step(now)
	if ts.step(now.Add(trialForget - 1)); len(ts.byHop) != 1 {
		t.Error("forgotten too early")
	}
	if ts.step(now.Add(trialForget)); len(ts.byHop) != 0 || hop.Runs.Off.Load() {
		t.Error("not forgotten")
	}
}

// Only the peer that was asked can answer, and only for places there are.
func TestAnswersOfOthersDontCount(t *testing.T) {
	lanes := newLanes(&Worker{})
	ts := newTrials(&Config{MTU: 1400}, &lanes)
	hop := &routes.Hop{Outer: peerOuter}
	ts.watch(hop)
	one := ts.byHop[hop]
	one.begin(nil, 100)
	ts.byToken[one.token] = one
	ts.answered(netip.MustParseAddr("192.0.2.99"), tunnel.Echo{Answer: true, Token: one.token})
	ts.answered(peerOuter.Addr(), tunnel.Echo{Answer: true, Token: one.token + 2})
	ts.answered(peerOuter.Addr(), tunnel.Echo{Answer: true, Token: one.token, Place: 16})
	if one.back != 0 {
		t.Errorf("answers counted: %016b", one.back)
	}
	ts.answered(peerOuter.Addr(), tunnel.Echo{Answer: true, Token: one.token, Place: 15})
	if one.back != 1<<15 {
		t.Errorf("answers counted: %016b", one.back)
	}
}
