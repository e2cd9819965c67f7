package tunnel

import (
	"os"
	"sync"
)

// A gate keeps a descriptor open while a batch is using its number: a number that is closed too
// early may already name another file. It costs one shared lock a batch.
type gate struct {
	mu     sync.RWMutex
	closed bool
}

// enter begins a batch; every nil result must be followed by leave. After shut it is os.ErrClosed.
func (g *gate) enter() error {
	g.mu.RLock()
	if g.closed {
		g.mu.RUnlock()
		return os.ErrClosed
	}
	return nil
}

func (g *gate) leave() { g.mu.RUnlock() }

// shut lets no further batch in, calls wake until the batches inside have left, and reports whether
// it is the first to shut this gate. wake must stick: a batch may be about to wait.
func (g *gate) shut(wake func()) (first bool) {
	wake()
	g.mu.Lock()
	defer g.mu.Unlock()
	first = !g.closed
	g.closed = true
	return first
}
