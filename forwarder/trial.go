package forwarder

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"time"

	"weft/routes"
	"weft/tunnel"
)

// A trial finds out whether runs to one hop arrive whole. Kernels 7.0 to 7.1.4 mangle runs of equal
// datagrams, and so did a host below its guests: no send fails, and neither end's version tells. So
// the peer is sent sixteen echoes of the path's full size, eight in one run between two times four
// alone, in one batch, and answers each that it gets whole. Loss and congestion take from both kinds;
// a mangler takes one. What is found is believed after three times in the same direction.
//
// While runs are off, trials go on: that is how they come on again, and no packet is risked for it.
type trial struct {
	hop   *routes.Hop
	token uint64 // of the echoes on their way; 0: none
	back  uint16 // a bit for each place that was answered
	score int    // 0: runs arrive; trialsToBelieve: they don't
	rest  time.Duration
	next  time.Time // no earlier than this the next echoes
	seen  time.Time // when there last were runs to send
	since time.Time // when runs went off
	text  string    // what the last trial showed
}

// The sizes of a trial, and what counts.
const (
	trialRun, trialAlone = 8, 8 // echoes; places 0 to 7 are those of the run
	trialMost            = 8000 // bytes of an echo, so that eight fit one run of 65,507
	trialsToBelieve      = 3

	trialNearlyAll, trialHardlyAny = 6, 2 // of eight
)

// When trials take place. A path that works is looked at ever more seldom: 22 KB a minute, of 1,400 bytes
// each, and only while there are runs to send.
const (
	trialTick    = 500 * time.Millisecond // answers have so long
	trialFirst   = 5 * time.Second        // after the first good one
	trialSeldom  = time.Minute
	trialCurrent = time.Minute      // runs seen so lately are a reason to try
	trialForget  = 10 * time.Minute // and after that long without any, what is known is forgotten
)

// places lists the echoes of a trial in the order in which they are sent.
var places = [trialRun + trialAlone]uint8{8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15}

// due reports whether it is time for the next echoes.
func (t *trial) due(now time.Time) bool {
	return now.Sub(t.seen) < trialCurrent && !now.Before(t.next)
}

// begin makes up the echoes, of size bytes each. They are valid until the next call with the same buf.
func (t *trial) begin(buf []byte, size int) (out []tunnel.Datagram, used []byte) {
	t.back, t.token = 0, rand.Uint64()|1
	size = max(tunnel.EchoLen, min(size, trialMost))
	buf = buf[:0]
	for _, place := range places {
		buf = tunnel.AppendEcho(buf, tunnel.Echo{Place: place, Token: t.token}, size)
	}
	for i, place := range places {
		out = append(out, tunnel.Datagram{Addr: t.hop.Outer, Payload: buf[i*size:][:size], Alone: place >= trialRun})
	}
	return out, buf
}

// judge draws the conclusion, once answers have had their time. changed tells that runs went off or on.
func (t *trial) judge(now time.Time) (changed bool) {
	inRun, alone := bits.OnesCount16(t.back&(1<<trialRun-1)), bits.OnesCount16(t.back>>trialRun)
	t.token = 0
	off := t.hop.Runs.Off.Load()
	switch {
	case alone < trialNearlyAll: // a bad path, or one without answers: no worse for runs as far as anyone can tell
		t.pause(now, trialFirst)
		return false
	case inRun >= trialNearlyAll:
		t.score = max(0, t.score-1)
	case inRun <= trialHardlyAny:
		t.score = min(trialsToBelieve, t.score+1)
	}
	t.text = fmt.Sprintf("of %d datagrams sent as one run %d arrived, of %d sent alone %d", trialRun, inRun, trialAlone, alone)
	switch t.score {
	case 0:
		changed = off
		t.hop.Runs.Off.Store(false)
		t.pause(now, trialFirst)
	case trialsToBelieve:
		changed = !off
		t.hop.Runs.Off.Store(true)
		t.pause(now, trialSeldom)
		if changed {
			t.since = now
		}
	default:
		t.next, t.rest = now, 0
	}
	return changed
}

// pause puts the next trial off: for the least, then twice as long every time.
func (t *trial) pause(now time.Time, least time.Duration) {
	t.rest = min(max(2*t.rest, least), trialSeldom)
	t.next = now.Add(t.rest)
}
