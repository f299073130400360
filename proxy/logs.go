package proxy

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
)

// logFormat is Envoy's default, said aloud because parseLine depends on it.
const logFormat = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v"

// maxLineBytes bounds what is kept of one line.
const maxLineBytes = 16 << 10

// logLine is one line that Envoy wrote.
type logLine struct {
	level     slog.Level
	component string
	text      string
}

// parseLine reads "[time][thread][level][component] [file:line] text". Envoy
// says a lot at its info level that only its developers want: that is debug
// here. Whatever has another form comes from a crash or the linker: a warning.
func parseLine(s string) logLine {
	levels := map[string]slog.Level{
		"trace": slog.LevelDebug, "debug": slog.LevelDebug, "info": slog.LevelDebug,
		"warning": slog.LevelWarn, "error": slog.LevelError, "critical": slog.LevelError,
	}
	head, text, ok := strings.Cut(s, "] ")
	parts := strings.Split(strings.TrimPrefix(head, "["), "][")
	if !ok || len(parts) != 4 {
		return logLine{level: slog.LevelWarn, text: s}
	}
	level, ok := levels[parts[2]]
	if !ok {
		return logLine{level: slog.LevelWarn, text: s}
	}
	if source, rest, ok := strings.Cut(text, "] "); ok && strings.HasPrefix(source, "[") {
		text = rest
	}
	return logLine{level: level, component: parts[3], text: text}
}

// envoyLog takes the standard error of one Envoy: each line goes to slog, and
// the last ones that matter are remembered for the reason of its end.
type envoyLog struct {
	log *slog.Logger
	// ending is set when Envoy was told to end: what it warns of then (the
	// signal, the connection to the xDS server) is no news.
	ending atomic.Bool
	mu     sync.Mutex
	last   []string
}

// lastLines is how many lines explain an end.
const lastLines = 3

func (l *envoyLog) line(s string) {
	p := parseLine(s)
	if p.level == slog.LevelWarn && l.ending.Load() {
		p.level = slog.LevelDebug
	}
	if p.level >= slog.LevelWarn && strings.TrimSpace(p.text) != "" {
		l.mu.Lock()
		l.last = append(l.last, p.text)
		if len(l.last) > lastLines {
			l.last = l.last[1:]
		}
		l.mu.Unlock()
	}
	l.log.Log(context.Background(), p.level, "envoy says", "component", p.component, "text", p.text)
}

// words returns the last lines at warning level or above, oldest first.
func (l *envoyLog) words() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.last...)
}

// lineWriter calls line for every line written to it, without its end and cut
// at maxLineBytes. It is for one writing goroutine.
type lineWriter struct {
	line func(string)
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		head, tail, found := bytes.Cut(p, []byte{'\n'})
		if room := maxLineBytes - len(w.rest); room > 0 {
			w.rest = append(w.rest, head[:min(len(head), room)]...)
		}
		if !found {
			return n, nil
		}
		w.flush()
		p = tail
	}
}

// flush ends a line that has no end yet.
func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		w.line(strings.ToValidUTF8(string(w.rest), "?"))
		w.rest = w.rest[:0]
	}
}

// sharedWriter lets the Envoys of two epochs write to one place.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write passes on what it can and never tells Envoy of a fault: a full disk
// under the access log must not look like a broken pipe.
func (s *sharedWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.w.Write(p)
	return len(p), nil
}
