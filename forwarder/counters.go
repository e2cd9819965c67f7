package forwarder

import (
	"sync/atomic"
)

// Counters is what a forwarder has done since it was made, summed over its workers. Every count only
// grows. Packets of one moment may be in one count and not yet in another.
type Counters struct {
	Egress   Traffic           `json:"egress"`    // TUN to wire: datagrams the kernel took
	Ingress  Traffic           `json:"ingress"`   // wire to TUN: packets and superpackets the kernel took
	Drops    map[string]uint64 `json:"drops"`     // by the name of every Reason, zeros included
	ICMPSent uint64            `json:"icmp_sent"` // errors told to inner senders
	// NeighbourAnswers counts VXLAN peers' questions for this host's MAC that were answered.
	NeighbourAnswers uint64 `json:"neighbour_answers"`
	// Echoes counts peers' echoes that were answered, and answers to our own: see Forwarder.Lowered.
	Echoes uint64       `json:"echoes"`
	Peers  []PeerErrors `json:"peers"` // peers with send errors, by outer address; never nil
}

// Traffic counts packets and their bytes, inner headers and encapsulation included, outer headers not.
// Where a device refuses some packets of a batch, Bytes still counts them.
type Traffic struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// A tally counts within one batch. It is its goroutine's own, so counting a packet is an addition;
// publish makes the sums visible once per batch.
type tally struct {
	packets, bytes uint64
	dropped        bool
	drops          [reasonCount]uint64
	shared         *sharedCounts
}

// sharedCounts are the published sums of one goroutine. The padding keeps them off the cache lines of
// other goroutines' counts (and of the pair of lines that the prefetcher fetches together).
type sharedCounts struct {
	_              [128]byte
	packets, bytes atomic.Uint64
	drops          [reasonCount]atomic.Uint64
	icmp           atomic.Uint64
	neighbours     atomic.Uint64
	echoes         atomic.Uint64
	_              [128]byte
}

func newTally() tally { return tally{shared: new(sharedCounts)} }

func (t *tally) pass(bytes int) {
	t.packets++
	t.bytes += uint64(bytes)
}

// passMany counts packets of so many bytes in all.
func (t *tally) passMany(packets, bytes int) {
	t.packets += uint64(packets)
	t.bytes += uint64(bytes)
}

func (t *tally) drop(r Reason) {
	t.drops[r]++
	t.dropped = true
}

// publish adds what the batch counted to the shared sums.
func (t *tally) publish() {
	if t.packets != 0 {
		t.shared.packets.Add(t.packets)
		t.shared.bytes.Add(t.bytes)
		t.packets, t.bytes = 0, 0
	}
	if !t.dropped {
		return
	}
	for r, n := range t.drops {
		if n != 0 {
			t.shared.drops[r].Add(n)
		}
	}
	t.drops, t.dropped = [reasonCount]uint64{}, false
}

// Counters returns the counts so far. It may be called at any time, from any goroutine.
func (f *Forwarder) Counters() Counters {
	c := Counters{Drops: make(map[string]uint64, reasonCount), Peers: f.peers.snapshot()}
	for r := range reasonCount {
		c.Drops[r.String()] = 0
	}
	for _, w := range f.workers {
		w.egress.tally.shared.addTo(&c, &c.Egress)
		for _, in := range w.ingress {
			in.tally.shared.addTo(&c, &c.Ingress)
		}
	}
	return c
}

func (s *sharedCounts) addTo(c *Counters, t *Traffic) {
	t.Packets += s.packets.Load()
	t.Bytes += s.bytes.Load()
	c.ICMPSent += s.icmp.Load()
	c.NeighbourAnswers += s.neighbours.Load()
	c.Echoes += s.echoes.Load()
	for r := range reasonCount {
		c.Drops[r.String()] += s.drops[r].Load()
	}
}
