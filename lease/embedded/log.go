package embedded

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo returns a logger that hands etcd's lines to slog. etcd is talkative: its notices become
// debug lines and its warnings notices, so that a quiet log stays quiet.
func zapTo(log *slog.Logger) *zap.Logger { return zap.New(core{log: log}) }

// A core is the receiving end of etcd's logger. It is immutable.
type core struct {
	log *slog.Logger
}

func (c core) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), level(l))
}

func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{log: c.log.With(attrs(fields)...)}
}

func (c core) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
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
