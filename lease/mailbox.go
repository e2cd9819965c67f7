package lease

import (
	"context"
	"sync"
)

// A Mailbox holds the latest of a row of values. A reader that is slow misses the values between,
// and never the last one: consumers get whole states and compare them, so that none of them can
// hold another up and no queue can overflow. All methods may be called concurrently. The zero
// value is not usable; [NewMailbox] makes one.
type Mailbox[T any] struct {
	mu      sync.Mutex
	value   T
	version uint64        // how many values have been put
	changed chan struct{} // closed at the next Put
}

// NewMailbox returns an empty mailbox, at version 0.
func NewMailbox[T any]() *Mailbox[T] {
	return &Mailbox[T]{changed: make(chan struct{})}
}

// Put replaces the value and wakes everyone who waits.
func (m *Mailbox[T]) Put(value T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.value = value
	m.version++
	close(m.changed)
	m.changed = make(chan struct{})
}

// Latest returns the value and its version. Version 0: nothing has been put.
func (m *Mailbox[T]) Latest() (T, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.value, m.version
}

// Changed returns a channel that is closed once there is a value newer than the given version; at
// once if there is one already. It is for a select; Next is for a plain loop.
func (m *Mailbox[T]) Changed(since uint64) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.version > since {
		done := make(chan struct{})
		close(done)
		return done
	}
	return m.changed
}

// Next waits for a value newer than the given version, starting at 0, and returns it with its own
// version for the next call. The error is the context's.
func (m *Mailbox[T]) Next(ctx context.Context, since uint64) (T, uint64, error) {
	select {
	case <-ctx.Done():
		var none T
		return none, since, context.Cause(ctx)
	case <-m.Changed(since):
		value, version := m.Latest()
		return value, version, nil
	}
}
