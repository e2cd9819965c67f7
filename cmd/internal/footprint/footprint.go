// Package footprint keeps an agent small. What an agent holds is little, 1.7 kB a lease; what reading it all
// takes for a moment is several times that, and Go keeps it for the next time, which may come in a month.
//
// It is about the whole process, so only commands call it.
package footprint

import (
	"os"
	"runtime/debug"
	"sync"
)

// percent is how much garbage may pile up beside what is in use, GOGC. Packets make none, and 15,000 leases
// are looked through in 20 ms, so collecting four times as often as Go does by itself costs nothing that shows.
const percent = 25

// Frugal has the process collect garbage early, unless GOGC in the environment says when, and let go of what only the
// packages' own starting needed of the program's file.
func Frugal() {
	_ = forgetFile() // where that fails, it stays until the kernel needs the room
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// manyLeases is a change for which it is worth collecting: below, there is less than a MiB to be had.
const manyLeases = 1000

// A Settler gives memory back after great changes. The zero value has seen no lease yet. It is for one
// goroutine.
type Settler struct {
	leases int // at the last time
}

// started is done once in a process, which starts once; Settlers come and go with the agent's sessions.
var started sync.Once

// Saw is to be called with the number of leases in each snapshot, once everything has been made of it. It
// reports whether it was a great change, and then took the time of a collection. The first time the agent has started,
// and what only that needed of the program's file goes as well.
func (s *Settler) Saw(leases int) bool {
	started.Do(func() { _ = forgetFile() })
	if max(leases-s.leases, s.leases-leases) < manyLeases {
		return false
	}
	s.leases = leases
	debug.FreeOSMemory()
	return true
}
