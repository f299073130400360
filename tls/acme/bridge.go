package acme

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// quietCore passes certmagic's log on at the level debug: what people need to know
// of it is in the state of a host, and logged once by us.
type quietCore struct {
	log    *slog.Logger
	fields []zapcore.Field
}

// zapLogger returns a logger for certmagic.
func zapLogger(log *slog.Logger) *zap.Logger { return zap.New(quietCore{log: log}) }

// Enabled implements zapcore.LevelEnabler.
func (c quietCore) Enabled(zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slog.LevelDebug)
}

// With implements zapcore.Core.
func (c quietCore) With(fields []zapcore.Field) zapcore.Core {
	return quietCore{c.log, append(append([]zapcore.Field(nil), c.fields...), fields...)}
}

// Check implements zapcore.Core.
func (c quietCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c quietCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	values := zapcore.NewMapObjectEncoder()
	for _, f := range append(append([]zapcore.Field(nil), c.fields...), fields...) {
		f.AddTo(values)
	}
	c.log.Debug("certmagic", "event", e.Message, "severity", e.Level.String(), "part", e.LoggerName, "values", values.Fields)
	return nil
}

// Sync implements zapcore.Core.
func (quietCore) Sync() error { return nil }
