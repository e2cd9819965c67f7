package forwarder_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

// A usage is what a process holds at one moment.
type usage struct {
	goroutines, descriptors int
	resident                uint64 // bytes (RSS)
}

func measure() (u usage, err error) {
	u.goroutines = runtime.NumGoroutine()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return u, err
	}
	u.descriptors = len(open)
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return u, err
	}
	var size, pages uint64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return u, err
	}
	u.resident = pages * uint64(os.Getpagesize())
	return u, nil
}

// heap returns the bytes that are in use once everything that can be collected is.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held on to
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// sample measures the resident set ten times a second until ctx ends, and returns the median: single
// values jump with every garbage collection.
func sample(ctx context.Context) (resident uint64, err error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var all []uint64
	for {
		u, err := measure()
		if err != nil {
			return 0, err
		}
		all = append(all, u.resident)
		select {
		case <-ctx.Done():
			slices.Sort(all)
			return all[len(all)/2], nil
		case <-tick.C:
		}
	}
}

// checkGiven waits until goroutines and descriptors are as many as before, and fails the test when some
// stay.
func checkGiven(t *testing.T, before usage) {
	t.Helper()
	var now usage
	for deadline := time.Now().Add(30 * time.Second); ; {
		var err error
		if now, err = measure(); err != nil {
			t.Fatal(err)
		}
		if now.goroutines <= before.goroutines && now.descriptors <= before.descriptors {
			return
		}
		if time.Now().After(deadline) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines and %d descriptors at the end, %d and %d at the start",
		now.goroutines, now.descriptors, before.goroutines, before.descriptors)
}
