package agent

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"weft/cmd/internal/admin"
	"weft/kernelmode"
	"weft/kernelmode/express"
)

func isForwarding(s kernelmode.Sysctl) bool { return s.Name == "net/ipv4/conf/eth0/forwarding" }

// counted is what a lane has done.
func counted(packets uint64) express.Counters {
	t := express.Traffic{Packets: packets, Bytes: 100 * packets}
	return express.Counters{Egress: t, Ingress: t, Drops: map[string]uint64{"not_local": packets}, Passed: map[string]uint64{"in_train": packets}}
}

// Counts only grow, whatever becomes of lanes: pinned ones go on in the next lane, others and those of a lane that is lifted
// are kept.
func TestFrontCounts(t *testing.T) {
	for _, pinned := range []bool{true, false} {
		t.Run(fmt.Sprintf("pinned %t", pinned), func(t *testing.T) {
			lanes := &fakeLanes{}
			if !pinned {
				lanes.unkept = errors.New("no BPF file system")
			}
			f := newFront(lanes)
			expect := func(packets uint64) {
				t.Helper()
				if c := f.counters(); c.Egress.Packets != packets || c.Ingress.Bytes != 100*packets || c.Drops["not_local"] != packets || c.Passed["in_train"] != packets {
					t.Errorf("counters %+v, want %d packets", c, packets)
				}
			}
			lay := func(before uint64) {
				t.Helper()
				if err := f.lay(express.Config{VNI: uint32(len(lanes.all))}, nil); err != nil {
					t.Fatal(err)
				}
				if pinned {
					lanes.last().counts = counted(before)
				}
			}
			expect(0)
			lay(0)
			lanes.last().counts = counted(5)
			expect(5)
			lay(5)
			expect(5)
			if err := f.lift("weft0"); err != nil || f.on() {
				t.Fatal(err)
			}
			expect(5)
			lay(0)
			lanes.last().counts = counted(2)
			expect(7)
		})
	}
}

// The state adds what the lane did to what the forwarder did, and tells them apart besides.
func TestFrontInTheState(t *testing.T) {
	lanes := &fakeLanes{unkept: errors.New("no BPF file system")}
	f := newFront(lanes)
	state := admin.State{Traffic: map[string]uint64{"egress_packets": 1}, Drops: map[string]uint64{"not_local": 2, "no_route": 3}}
	forwarders := state.Drops
	if f.describe(&state); state.Lane != nil {
		t.Errorf("lane %+v before there was one", state.Lane)
	}
	if err := f.lay(express.Config{Underlay: "eth0"}, nil); err != nil {
		t.Fatal(err)
	}
	lanes.last().counts = counted(10)
	f.describe(&state)
	l := state.Lane
	if l == nil || !l.On || l.Underlay != "eth0" || l.Carried["egress_bytes"] != 1000 || l.Passed["in_train"] != 10 || l.Unpinned != "no BPF file system" {
		t.Fatalf("lane %+v", l)
	}
	if state.Traffic["egress_packets"] != 11 || state.Drops["not_local"] != 12 || state.Drops["no_route"] != 3 || forwarders["not_local"] != 2 {
		t.Errorf("traffic %v, drops %v, the forwarder's own %v", state.Traffic, state.Drops, forwarders)
	}
}

// A lane that can't be published isn't there; the one before goes on.
func TestFrontKeepsTheLaneBefore(t *testing.T) {
	lanes := &fakeLanes{}
	f := newFront(lanes)
	if err := f.lay(express.Config{MTU: 1400}, nil); err != nil {
		t.Fatal(err)
	}
	lanes.opens = errors.New("no memory")
	if err := f.publish(express.Config{MTU: 1300}, nil); !errors.Is(err, lanes.opens) || !f.on() || lanes.last().closed != "" {
		t.Errorf("%v, lane on: %t, closed %q", err, f.on(), lanes.last().closed)
	}
	if err := f.abandon(); err != nil || f.on() || lanes.last().closed != "left" {
		t.Errorf("%v, lane on: %t, closed %q", err, f.on(), lanes.last().closed)
	}
	if err := f.lift("weft0"); err != nil || len(lanes.did) != 1 {
		t.Errorf("%v, %q: lifting takes away what an agent before left", err, lanes.did)
	}
}

// What is taken away once comes back; again and again, or where it can't be put back, it isn't wanted here. Other trouble
// is told once.
func TestWatch(t *testing.T) {
	gone := fmt.Errorf("%w: egress of weft0", express.ErrDetached)
	deaf := errors.New("netlink is deaf")
	for _, test := range []struct {
		name  string
		looks [][]error // what Check says in each look
		pause time.Duration
		news  string // in all looks
		word  string // of the fault in the last look
	}{
		{name: "all is well", looks: [][]error{nil, nil}},
		{name: "once", looks: [][]error{{gone, nil}, nil}, news: "egress of weft0; put back"},
		{name: "three times", looks: [][]error{{gone, nil}, {gone, nil}, {gone, nil}}, pause: time.Second, word: wordLaneUnwant},
		{name: "three times in hours", looks: [][]error{{gone, nil}, {gone, nil}, {gone, nil}}, pause: time.Hour, news: "put back"},
		{name: "for good", looks: [][]error{{gone, gone}}, word: wordLaneLost},
		{name: "other trouble", looks: [][]error{{deaf}, {deaf}}, news: "netlink is deaf"},
		{name: "other trouble twice", looks: [][]error{{deaf}, nil, {deaf}}, news: "netlink is deafnetlink is deaf"},
	} {
		t.Run(test.name, func(t *testing.T) {
			lanes := &fakeLanes{}
			f := newFront(lanes)
			if err := f.lay(express.Config{}, nil); err != nil {
				t.Fatal(err)
			}
			var w watch
			var news strings.Builder
			now := time.Unix(0, 0)
			for i, checks := range test.looks {
				lanes.checks = checks
				said, fault := w.look(f, now)
				news.WriteString(said)
				now = now.Add(test.pause)
				last := i == len(test.looks)-1
				if fault.word != "" && (!last || fault.word != test.word) || last && fault.word != test.word || (fault.why == nil) != (fault.word == "") {
					t.Errorf("look %d: %+v, want %q at the end", i, fault, test.word)
				}
			}
			if !strings.Contains(news.String(), test.news) || test.news == deaf.Error() && news.String() != test.news {
				t.Errorf("news %q, want %q", news.String(), test.news)
			}
		})
	}
	var w watch
	if news, fault := w.look(newFront(&fakeLanes{checks: []error{gone}}), time.Now()); news != "" || fault.why != nil {
		t.Errorf("no lane: %q, %v", news, fault)
	}
}

// What was wrong with a lane says nothing about the next one.
func TestFrontForgetsFaults(t *testing.T) {
	f := newFront(&fakeLanes{})
	for range 2 {
		if err := f.lay(express.Config{}, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case fault := <-f.lost:
			t.Errorf("a new lane can't stay because of %+v", fault)
		default:
		}
		f.lose(laneFault{wordLaneLost, errors.New("gone")})
		f.lose(laneFault{wordLaneLost, errors.New("gone again")})
	}
}
