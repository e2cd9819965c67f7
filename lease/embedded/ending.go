package embedded

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"go.uber.org/zap/zapcore"
)

// An ending knows why a server ended that ended by itself. Its methods may be called concurrently.
type ending struct {
	last  atomic.Pointer[line] // of etcd's warnings and worse
	fatal chan error           // what etcd would have ended the process for; holds one
}

// A line is one that etcd logged.
type line struct {
	message string
	fields  []zapcore.Field
}

func newEnding() *ending { return &ending{fatal: make(chan error, 1)} }

// OnWrite is called after a line that ends etcd, and doesn't return, as etcd relies on.
func (e *ending) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	select {
	case e.fatal <- (&line{entry.Message, fields}).err():
	default: // the first one is the reason
	}
	runtime.Goexit()
}

// reason is the best there is: the line that ended it, else the last warning.
func (e *ending) reason() error {
	select {
	case err := <-e.fatal:
		return err
	default:
	}
	if l := e.last.Load(); l != nil {
		return fmt.Errorf("the server stopped by itself; its last warning was: %w", l.err())
	}
	return errors.New("the server stopped by itself")
}

// err keeps the error of the line, so that what kind it is can still be asked.
func (l *line) err() error {
	for _, f := range l.fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			return fmt.Errorf("%s: %w", l.message, err)
		}
	}
	return errors.New(l.message)
}
