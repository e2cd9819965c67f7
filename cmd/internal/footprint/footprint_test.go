package footprint

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestSettlerActsOnGreatChangesOnly(t *testing.T) {
	var s Settler
	for i, c := range []struct {
		leases int
		great  bool
	}{{0, false}, {999, false}, {1000, true}, {1999, false}, {1, false}, {2000, true}, {2000, false}, {1001, false}, {1000, true}} {
		if got := s.Saw(c.leases); got != c.great {
			t.Errorf("%d: with %d leases: %v", i, c.leases, got)
		}
	}
}

// TestSettlerGivesMemoryBack: garbage of a great change doesn't stay with the process.
func TestSettlerGivesMemoryBack(t *testing.T) {
	kept := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapSys - m.HeapReleased
	}
	var garbage [][]byte
	for range 64 {
		garbage = append(garbage, make([]byte, 1<<20))
	}
	before := kept()
	runtime.KeepAlive(garbage)
	garbage = nil
	new(Settler).Saw(manyLeases)
	if after := kept(); after+48<<20 > before {
		t.Errorf("%d bytes before, %d after", before, after)
	}
}

func TestFrugalLeavesTheEnvironmentItsSay(t *testing.T) {
	ordinary := debug.SetGCPercent(70)
	defer debug.SetGCPercent(ordinary)
	t.Setenv("GOGC", "70")
	Frugal()
	if got := debug.SetGCPercent(70); got != 70 {
		t.Errorf("GOGC=70, but %d", got)
	}
	t.Setenv("GOGC", "")
	Frugal()
	if got := debug.SetGCPercent(70); got != percent {
		t.Errorf("without GOGC: %d", got)
	}
}
