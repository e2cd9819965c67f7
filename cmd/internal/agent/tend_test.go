package agent

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"weft/kernelmode/express"
	"weft/lease"
	"weft/lease/leasetest"
)

// A lane that was lost is given up at once, and wished for again soon, and then ever more seldom; one that isn't wanted here
// is left alone.
func TestLostLaneIsWishedForAgain(t *testing.T) {
	gone := fmt.Errorf("%w: egress of weft0", express.ErrDetached)
	for _, test := range []struct {
		name   string
		checks []error
		word   string
		wishes []time.Duration // how long after the one before, or the loss
	}{
		{"lost", []error{gone, gone}, wordLaneLost, []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute}},
		{"unwanted", []error{gone, nil, gone, nil, gone, nil}, wordLaneUnwant, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, u, lanes := laneSession(t)
				s.follower = lease.NewFollower(leasetest.NewMemory(time.Hour), slog.New(slog.DiscardHandler))
				s.wishes = make(chan wish)
				if err := s.layLane(u); err != nil {
					t.Fatal(err)
				}
				lanes.checks = test.checks
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- s.tend(ctx) }()
				s.giveUpLane(<-s.laneLost())
				if word := s.chosen.Load().word; word != test.word || u.front.on() {
					t.Errorf("word %q, lane on: %t; want %q", word, u.front.on(), test.word)
				}
				before := time.Now()
				for _, want := range test.wishes {
					w := <-s.wishes
					if took := time.Since(before); w.datapath != relay || !w.unasked || took < want || took > want+2*tendEvery {
						t.Errorf("a wish for %q after %v, want %v", w.datapath, took, want)
					}
					before = time.Now()
				}
				select {
				case w := <-s.wishes:
					if test.wishes == nil {
						t.Errorf("a wish for %q", w.datapath)
					}
				case <-time.After(time.Hour):
					if test.wishes != nil {
						t.Error("no wish for an hour")
					}
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
