package main

import (
	"io"
	"log/slog"
)

// logOptions say how the long-running subcommands log.
type logOptions struct {
	format    string // text or json
	verbosity int    // flannel's -v: 0 shows what changes, more shows what is tried
}

// logger writes to w, one line an event.
func (o logOptions) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if o.verbosity > 0 {
		options.Level = slog.LevelDebug
	}
	if o.format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
