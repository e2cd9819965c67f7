package forwarder

import "time"

// A patience says how often a worker that finds no packets looks again, letting other threads of its core go
// first each time, before it sleeps. A sleeper has to be woken by whoever sends the next packet: that preempts
// the sender that does, or costs an interrupt between processors and, where an idle virtual one has to be started
// again by its host, the packet 15 to 50 µs.
//
// A few looks are always worth it: while a transfer runs on busy cores the worker hardly ever sleeps then, and what
// was sent meanwhile comes in one batch. Many are worth it while superpackets follow each other closely on cores
// that would idle else, and that shows in its sleep: much was moved since the last one, and it was short.
type patience struct {
	looks int    // before it sleeps
	tried int    // since it found packets
	moved uint64 // bytes when it slept last
}

// Each look costs about 2 µs of a core that has nothing else to run: manyLooks are about shortSleep.
const (
	fewLooks   = 4
	manyLooks  = 60
	shortSleep = 150 * time.Microsecond
	muchMoved  = 64 << 10 // bytes: a superpacket
)

func newPatience() patience { return patience{looks: fewLooks} }

// found is for a look that found packets.
func (p *patience) found() { p.tried = 0 }

// lasts is for one that didn't: it reports whether to look again, or to sleep.
func (p *patience) lasts() bool {
	p.tried++
	return p.tried <= p.looks
}

// slept learns from a sleep that packets ended. moved is how many bytes the worker has moved so far.
func (p *patience) slept(length time.Duration, moved uint64) {
	p.tried, p.looks = 0, fewLooks
	if length < shortSleep && moved-p.moved >= muchMoved {
		p.looks = manyLooks
	}
	p.moved = moved
}
