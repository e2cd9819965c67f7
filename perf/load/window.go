package load

import (
	"sync/atomic"
	"time"
)

// A window tells apart what counts from warm-up and run-out. It opens Warmup after start and closes
// Duration later; start is the moment that traffic began, so a slow start of the other process
// doesn't shorten it.
type window struct{ opens, closes time.Time }

func newWindow(start time.Time, j Job) window {
	opens := start.Add(j.Warmup)
	return window{opens: opens, closes: opens.Add(j.Duration)}
}

// holds reports whether the window is open at t.
func (w window) holds(t time.Time) bool { return !t.Before(w.opens) && t.Before(w.closes) }

// A meter counts what arrives, in the window and at all. Streams share one: an atomic add for
// 128 KB costs nothing.
type meter struct {
	window   window
	total    atomic.Uint64
	counted  atomic.Uint64
	lastSeen atomic.Int64 // nanoseconds from opens to the last counted arrival
}

// add counts n units that arrived at t.
func (m *meter) add(n uint64, t time.Time) {
	m.total.Add(n)
	if !m.window.holds(t) {
		return
	}
	m.counted.Add(n)
	at := int64(t.Sub(m.window.opens))
	for {
		last := m.lastSeen.Load()
		if at <= last || m.lastSeen.CompareAndSwap(last, at) {
			return
		}
	}
}

// seconds is the length of the window as far as it was lived through: a source that died early
// must not look fast, so it is the whole window whenever that has passed by now.
func (m *meter) seconds(now time.Time) float64 {
	if !now.Before(m.window.closes) {
		return m.window.closes.Sub(m.window.opens).Seconds()
	}
	return time.Duration(m.lastSeen.Load()).Seconds()
}
