package routes

import "sync/atomic"

// Live is the table in force. The zero value serves an empty table.
//
// Any number of goroutines may Load; Publish and Update belong to one writer at a time.
type Live struct {
	table atomic.Pointer[Table]
}

var empty = new(Table)

// Load returns the table in force, never nil: one atomic load. The data path calls it once per batch.
func (l *Live) Load() *Table {
	if t := l.table.Load(); t != nil {
		return t
	}
	return empty
}

// Publish puts a table in force. Batches that began before finish with the one they loaded.
func (l *Live) Publish(t *Table) { l.table.Store(t) }

// Update applies changes to the table in force and publishes the result. After an error the table in
// force is the one from before.
func (l *Live) Update(changes ...Route) error {
	t, err := l.Load().With(changes...)
	if err != nil {
		return err
	}
	l.Publish(t)
	return nil
}
