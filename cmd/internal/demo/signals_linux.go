package demo

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// holdSignals takes from the signals that people stop a program with their power to kill this one
// half-way through its cleaning: a second Ctrl-C, or the end of `weft demo | head`. The caller's
// context says when to stop.
func holdSignals() (release func()) {
	held := make(chan os.Signal, 1)
	signal.Notify(held, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE)
	return func() { signal.Stop(held) }
}

// untilHangup ends the context when the terminal goes away, too.
func untilHangup(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGHUP)
}
