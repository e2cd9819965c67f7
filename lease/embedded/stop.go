package embedded

import (
	"fmt"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// A stop has three steps. A leader may hand over, and requests under way be answered, for stopGrace;
// then both are cut off (etcd itself would wait for seven seconds). Then the log and the database are
// closed, which takes as long as the disk does, but stopLimit at most. What hangs on after that are
// connections whose clients don't end them, and that hurts nobody.
const (
	stopGrace = time.Second
	stopLimit = 5 * time.Second
	stopRest  = 300 * time.Millisecond
)

// stop ends a server in bounded time. The error says that the data folder may still be open; what
// clients were told is safe all the same, since etcd writes before it answers.
func stop(e *embed.Etcd, dir string) error {
	closed := make(chan struct{})
	go func() {
		defer close(closed) // also where etcd's own code ends this goroutine
		e.Close()
	}()
	if await(closed, stopGrace) {
		return nil
	}
	go e.Server.HardStop()
	select {
	case <-closed:
		return nil
	case <-e.Server.StopNotify():
	case <-time.After(stopLimit):
		return fmt.Errorf("stopping embedded etcd with data in %s: it didn't end within %s: end this process before the folder is used again",
			dir, stopGrace+stopLimit)
	}
	// Listeners are closed last, behind all connections: whoever starts next wants the ports now.
	for _, l := range e.Clients {
		_ = l.Close()
	}
	for _, p := range e.Peers {
		_ = p.Listener.Close()
	}
	await(closed, stopRest)
	return nil
}

// await reports whether c was closed in time.
func await(c <-chan struct{}, limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return false
	}
}
