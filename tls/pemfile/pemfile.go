// Package pemfile follows PEM files that objects name by path.
//
// What goes in: a set of paths that may change at any time. What comes out: what
// the files hold, all of them first and then those that changed, or why they
// cannot be used. It alone decides when a change is over: files that change one
// after the other, as a certificate and its key do, are told together when they
// have been quiet for a moment. What a file means is for others to judge; here
// it is only whole or not.
package pemfile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How a change is waited for: it is over when nothing has happened for quiet, and
// told after patience in any case.
const (
	quiet    = 10 * time.Millisecond
	patience = 30 * time.Millisecond
)

// defaultRescan is how often all files are read when nothing else is said.
const defaultRescan = 30 * time.Second

// File is what a file holds. It prints and logs without its content.
type File struct {
	// Bytes is the whole content; nobody may change it.
	Bytes []byte `json:"-"`
	// Err says why the file cannot be used and what to do: "it does not exist;
	// create it or correct the path". It is "" if the file can be used; otherwise
	// Bytes is nil.
	Err string
}

// String returns the size or the fault.
func (f File) String() string {
	if f.Err != "" {
		return f.Err
	}
	return fmt.Sprintf("%d bytes", len(f.Bytes))
}

// Format writes [File.String] whatever the verb.
func (f File) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, f.String()) // fmt has nowhere to report it
}

// LogValue is [File.String], for logs.
func (f File) LogValue() slog.Value { return slog.StringValue(f.String()) }

func (f File) equal(o File) bool { return f.Err == o.Err && bytes.Equal(f.Bytes, o.Bytes) }

// Contents are files by path, as it was wanted.
type Contents map[string]File

// Options of [New].
type Options struct {
	// Log takes faults of the watching; nil discards them.
	Log *slog.Logger
	// Rescan is how often all files are read whether or not the system told of a
	// change; zero is 30 seconds.
	Rescan time.Duration
}

// Source follows files.
type Source struct {
	log    *slog.Logger
	rescan time.Duration

	mu     sync.Mutex
	wanted []string // sorted, each once
	asked  bool     // whether Want was ever called
	change chan struct{}
}

// New returns a source that follows nothing yet.
func New(o Options) *Source {
	s := &Source{log: o.Log, rescan: o.Rescan, change: make(chan struct{}, 1)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.rescan <= 0 {
		s.rescan = defaultRescan
	}
	return s
}

// Want replaces the set of paths to follow; relative ones start at the working
// directory. It returns at once and may be called from any goroutine, before and
// during Run.
func (s *Source) Want(paths []string) {
	paths = slices.Clone(paths)
	slices.Sort(paths)
	s.mu.Lock()
	s.wanted, s.asked = slices.Compact(paths), true
	s.mu.Unlock()
	select {
	case s.change <- struct{}{}:
	default: // a call that nobody has looked at yet
	}
}

func (s *Source) wants() ([]string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted, s.asked
}

// Run sends what the wanted files hold: all of them after the first call of Want,
// even if that is nothing, then those that are new or changed. A path that is no
// longer wanted is never mentioned. Run ends with ctx, without an error; it may
// be called once.
func (s *Source) Run(ctx context.Context, out chan<- Contents) error {
	w := openWatcher(s.log)
	defer w.close()
	return s.run(ctx, out, w)
}

func (s *Source) run(ctx context.Context, out chan<- Contents, w *watcher) error {
	r := &run{source: s, follower: newFollower(w), told: Contents{}, pending: Contents{}}
	ticker := time.NewTicker(s.rescan)
	defer ticker.Stop()
	r.adopt()
	for {
		var send chan<- Contents
		if len(r.pending) > 0 || r.greet {
			send = out
		}
		select {
		case <-ctx.Done():
			return nil
		case send <- r.pending:
			r.pending, r.greet = Contents{}, false
		case <-s.change:
			r.adopt()
		case ev := <-w.events():
			r.settle(ctx, ev)
		case err := <-w.lost():
			s.log.Warn("events of files may be lost, all are read again", "error", err)
			r.readAll()
		case <-ticker.C:
			r.readAll()
		}
	}
}

// run is the state of one Run.
type run struct {
	source   *Source
	follower *follower
	told     Contents // the newest of every wanted path, sent or pending
	pending  Contents // what has to be sent
	greeted  bool     // whether a first message was made
	greet    bool     // the first message has to be sent, even if it is empty
}

// adopt takes over the wanted set.
func (r *run) adopt() {
	wanted, asked := r.source.wants()
	if !asked {
		return
	}
	r.greet = r.greet || !r.greeted
	r.greeted = true
	for path := range r.told {
		if _, ok := slices.BinarySearch(wanted, path); !ok {
			r.follower.drop(path)
			delete(r.told, path)
			delete(r.pending, path)
		}
	}
	for _, path := range wanted {
		if _, ok := r.told[path]; !ok {
			r.read(path)
		}
	}
}

func (r *run) readAll() {
	for path := range r.told {
		r.read(path)
	}
}

// read looks at a file and notes what is new.
func (r *run) read(path string) {
	r.follower.follow(path) // first, so that what changes from here on is an event
	f := Load(path)
	if old, ok := r.told[path]; ok && old.equal(f) {
		return
	}
	r.told[path], r.pending[path] = f, f
}

// settle waits until the files are quiet again, then reads those that events
// tell of.
func (r *run) settle(ctx context.Context, ev fsnotify.Event) {
	touched := map[string]bool{}
	note := func(ev fsnotify.Event) bool { return r.follower.touched(ev, touched) }
	if !note(ev) {
		return
	}
	calm(ctx, r.follower.watcher.events(), note)
	for path := range touched {
		r.read(path)
	}
}

// calm returns when for the time of quiet no event has come that note takes for
// one of ours, or after the time of patience.
func calm(ctx context.Context, events <-chan fsnotify.Event, note func(fsnotify.Event) bool) {
	end, pause := time.NewTimer(patience), time.NewTimer(quiet)
	defer end.Stop()
	defer pause.Stop()
	for {
		select {
		case ev := <-events:
			if note(ev) {
				pause.Reset(quiet)
			}
		case <-pause.C:
			return
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
