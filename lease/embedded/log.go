package embedded

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo returns a logger that hands etcd's lines to slog. etcd is talkative: its notices become
// debug lines and its warnings notices, so that a quiet log stays quiet.
//
// After some lines etcd ends the whole process, or panics: a full disk is one reason. Here such a
// line ends only the goroutine that wrote it, and goes to ended, so that Run can say what happened
// and the agent around it can end in order.
func zapTo(log *slog.Logger, ended *ending) *zap.Logger {
	return zap.New(core{log: log, ended: ended}, zap.WithFatalHook(ended), zap.WithPanicHook(ended))
}

// A core is the receiving end of etcd's logger. It is immutable.
type core struct {
	log   *slog.Logger
	ended *ending
}

// Enabled takes warnings in any case, shown or not: one may be the reason for the end.
func (c core) Enabled(l zapcore.Level) bool {
	return l >= zapcore.WarnLevel || c.log.Enabled(context.Background(), level(l))
}

func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{log: c.log.With(attrs(fields)...), ended: c.ended}
}

func (c core) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if e.Level >= zapcore.WarnLevel {
		c.ended.last.Store(&line{e.Message, fields})
	}
	c.log.Log(context.Background(), level(e.Level), "etcd: "+e.Message, attrs(fields)...)
	return nil
}

func (core) Sync() error { return nil }

func level(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.DPanicLevel: // etcd ends the process after such a line
		return slog.LevelError
	case l == zapcore.ErrorLevel:
		return slog.LevelWarn
	case l == zapcore.WarnLevel:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func attrs(fields []zapcore.Field) []any {
	encoded := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(encoded)
	}
	out := make([]any, 0, len(encoded.Fields))
	for key, value := range encoded.Fields {
		out = append(out, slog.Any(key, value))
	}
	return out
}
