package forwarder

import (
	"testing"
	"time"
)

// looksBeforeSleep counts the looks that find nothing.
func looksBeforeSleep(p *patience) (n int) {
	for p.lasts() {
		n++
	}
	return n
}

// TestPatienceFollowsWhatSleepsBring: only a transfer whose superpackets come closely keeps a core from idling.
func TestPatienceFollowsWhatSleepsBring(t *testing.T) {
	p, moved := newPatience(), uint64(0)
	if n := looksBeforeSleep(&p); n != fewLooks {
		t.Errorf("at first: %d looks", n)
	}
	for _, test := range []struct {
		name  string
		slept time.Duration
		moved uint64
		want  int
	}{
		{"superpackets that follow closely", 20 * time.Microsecond, 5 * 64000, manyLooks},
		{"and go on", 20 * time.Microsecond, 50 * 64000, manyLooks},
		{"a pause", 10 * time.Millisecond, 5 * 64000, fewLooks},
		{"question and answer", 20 * time.Microsecond, 200, fewLooks},
		{"a slow transfer", 500 * time.Microsecond, 64000, fewLooks},
	} {
		moved += test.moved
		p.slept(test.slept, moved)
		if n := looksBeforeSleep(&p); n != test.want {
			t.Errorf("%s: %d looks before it sleeps, want %d", test.name, n, test.want)
		}
	}
}

// TestPatienceBeginsAnewWithPackets: looks are counted from the last packets on.
func TestPatienceBeginsAnewWithPackets(t *testing.T) {
	p := newPatience()
	p.lasts()
	p.found()
	if n := looksBeforeSleep(&p); n != fewLooks {
		t.Errorf("%d looks after packets, want %d", n, fewLooks)
	}
}
