package netlab

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// An Impairment is what a bad link does to packets, each way independently. The zero value is a
// good link. Chances are 0 to 1, per packet.
type Impairment struct {
	Delay     time.Duration // added to every packet, up to MaxDelay
	Jitter    time.Duration // up to this much more, evenly spread; keeps the order
	Loss      float64       // chance to lose a packet
	Duplicate float64       // chance to deliver it twice
	Reorder   float64       // chance to hold it back by ReorderDelay while later ones pass
	Seed      uint64        // the same seed makes the same decisions, packet for packet
}

const (
	// ReorderDelay is how long a reordered packet is held back: several packets at any rate worth
	// testing, less than a TCP retransmission timeout.
	ReorderDelay = 2 * time.Millisecond
	// MaxDelay bounds Delay and Jitter, since delayed packets are kept in memory.
	MaxDelay = 2 * time.Second
)

// check says what is out of range, and what would be in it.
func (i Impairment) check() error {
	for _, c := range []struct {
		name   string
		chance float64
	}{{"Loss", i.Loss}, {"Duplicate", i.Duplicate}, {"Reorder", i.Reorder}} {
		if !(c.chance >= 0 && c.chance <= 1) { // not NaN either
			return fmt.Errorf("impairment: %s %v: use a chance from 0 to 1", c.name, c.chance)
		}
	}
	for _, d := range []time.Duration{i.Delay, i.Jitter} {
		if d < 0 || d > MaxDelay {
			return fmt.Errorf("impairment: Delay or Jitter %v: use 0 to %v", d, MaxDelay)
		}
	}
	return nil
}

// Counts are packets, both ways together. Delivered counts copies, so
// Delivered == packets - Lost - Overflowed + Duplicated once nothing is in flight.
type Counts struct {
	Delivered, Lost, Duplicated, Reordered uint64
	Overflowed                             uint64 // lost for want of room, not on purpose
}

// fate is what happens to one packet: when each of up to two copies is due.
type fate struct {
	copies    int // 0: lost
	due       [2]time.Time
	reordered bool
}

// model decides the fates of one direction's packets.
type model struct {
	Impairment
	random *rand.Rand
	last   time.Time // when the latest packet in order is due
}

// newModel seeds one direction: the two must not make the same decisions in step.
func newModel(i Impairment, direction uint64) *model {
	return &model{Impairment: i, random: rand.New(rand.NewPCG(i.Seed, direction))}
}

// next decides for the packet that arrived at now. It draws the same count of random numbers
// for every packet, so that changing one chance doesn't shift the others' decisions.
func (m *model) next(now time.Time) (f fate) {
	lost, twice, held, jitter := m.random.Float64(), m.random.Float64(), m.random.Float64(), m.random.Float64()
	if lost < m.Loss {
		return f
	}
	due := now.Add(m.Delay + time.Duration(jitter*float64(m.Jitter)))
	if due.Before(m.last) {
		due = m.last // jitter alone doesn't reorder
	}
	if held < m.Reorder {
		// Only this one is late: last stays, so that the packets behind it aren't held up.
		f.reordered = true
		due = due.Add(ReorderDelay)
	} else {
		m.last = due
	}
	f.copies, f.due[0] = 1, due
	// Both copies are due together, as after a switch that flooded once too often.
	if twice < m.Duplicate {
		f.copies, f.due[1] = 2, due
	}
	return f
}
