// Package file is the source of objects that lie in folders as YAML or JSON.
//
// What goes in: folders. What comes out: [config.Step]s of raw objects, the
// first with everything there is, later ones with what changed, and with every
// problem of the files themselves; and the place (file and line) of any field
// of an object. It alone decides which files are read, what counts as one
// version of a file, and which of two files that define one object wins.
//
// Read are *.yaml, *.yml and *.json, recursively, through links, without names
// that start with a dot, each real folder once and within bounds. Folders are watched; a rescan now and then is the net
// below. One event leads to one file being read, however many there are.
//
// What people do by halves does no harm. While a file cannot be read, or is not
// YAML or JSON, the objects of its last good version stay. So do those of a
// document that cannot be used. What a file no longer says may be what a slow
// writer has not said yet: it goes once the file has been still for
// [Options.Settle], and what was not still for so long is no good version to
// fall back to. What is new or changed counts at once. A file that was renamed
// into its place, as careful programs write, waits no longer than a vanished
// one. That keeps its objects for [removalHold], so that an editor that moves
// the file away and writes a new one, or a file that moves, interrupts nothing;
// and when a whole folder argument vanishes, all stay.
package file

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/config/file/keep"
)

const (
	// removalHold is how long files must be quiet before vanished ones lose
	// their objects; removalLimit is how long that can be put off.
	removalHold  = 100 * time.Millisecond
	removalLimit = 10 * removalHold

	// DefaultSettle is the default of [Options.Settle].
	DefaultSettle = 2 * time.Second

	// EmptySettle is how long a folder argument has to be empty before that
	// counts, when it held something and was gone, or before a restart.
	EmptySettle = 30 * time.Second

	defaultRescan   = 10 * time.Second
	defaultMaxBytes = 32 << 20
)

// Options say what to read. Only Dirs is needed.
type Options struct {
	// Dirs are the folders. What was there first goes first; of what one look
	// found, objects of an earlier folder go before those of a later one, within
	// a folder by the bytes of the path below it; see [model.Order], whose Path is the number of the folder and that path
	// ("0000:shop/gateway.yaml") and whose Index counts the objects of a file.
	Dirs []string
	// Rescan is how often everything is looked at without an event; 0 means
	// 10 s.
	Rescan time.Duration
	// Settle is how long a file must have been left alone before what it no
	// longer holds is removed; 0 means DefaultSettle.
	Settle time.Duration
	// StayInside follows no link that leads out of the folder below which it lies.
	StayInside bool
	// Keep is a folder in which the last good versions outlive the process, for a
	// start while the folders cannot be read; "" keeps nothing.
	Keep string
	// AllowEmpty takes an empty folder for what it is at once; see [EmptySettle].
	AllowEmpty bool
	// Log takes what concerns the machine; nil discards it.
	Log *slog.Logger
	// Now is the clock; nil means time.Now. It must not stand still.
	Now func() time.Time
	// MaxFileBytes is the largest file that is read; 0 means 32 MiB.
	MaxFileBytes int64
}

// Source reads folders. It implements [config.Source].
type Source struct {
	opts   Options
	reader *reader
	hold   time.Duration // removalHold, longer in tests
	names  int           // maxNames, less in tests
	empty  time.Duration // EmptySettle, or 0 to allow it
	looks  chan chan struct{}

	mu      sync.Mutex // guards ledger, what it holds, and located
	ledger  *ledger
	located located
}

// New returns a source that has read nothing yet.
func New(opts Options) *Source {
	if opts.Rescan <= 0 {
		opts.Rescan = defaultRescan
	}
	if opts.Settle <= 0 {
		opts.Settle = DefaultSettle
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.MaxFileBytes <= 0 {
		opts.MaxFileBytes = defaultMaxBytes
	}
	s := &Source{
		opts:   opts,
		reader: &reader{maxBytes: opts.MaxFileBytes, now: opts.Now},
		hold:   removalHold,
		names:  maxNames,
		looks:  make(chan chan struct{}),
		ledger: newLedger(waits{removalHold, opts.Settle}),
		empty:  EmptySettle,
	}
	if opts.AllowEmpty {
		s.empty = 0
	}
	s.ledger.unlisted = opts.Dirs
	return s
}

// Load reads the folders once; see [Source.Load].
func Load(opts Options) (config.Step, error) { return New(opts).Load() }

// Load reads the folders once and returns what [Source.Run] would send first.
// It returns an error when a folder is missing or not a folder. Afterwards
// [Source.Locate] knows the objects.
func (s *Source) Load() (config.Step, error) {
	t, err := s.tree(nil)
	if err != nil {
		return config.Step{}, err
	}
	for _, r := range t.roots {
		at, err := follow("/", r.abs)
		if err == nil && !at.info.IsDir() {
			err = &fs.PathError{Op: "read", Path: r.abs, Err: unix.ENOTDIR}
		}
		if err != nil {
			return config.Step{}, fmt.Errorf("read folder %s: %w", r.dir, err)
		}
	}
	s.ledger.noticed(s.opts.Now())
	t.walk(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	st, _ := s.ledger.step()
	s.ledger.sent(st)
	return st, nil
}

// tree returns a tree that has looked at nothing, and empties the ledger.
func (s *Source) tree(w *watcher) (*tree, error) {
	t := &tree{
		entries: map[key]*entry{}, folders: interest{}, names: interest{}, returned: map[*root]*homecome{},
		watch: w, read: s.reader, log: s.opts.Log, mu: &s.mu, inside: s.opts.StayInside, empty: s.empty,
		homes: homes{owner: map[identity]*entry{}, others: map[identity]map[key]bool{}},
	}
	for i, dir := range s.opts.Dirs {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("find folder %s: %w", dir, err)
		}
		t.roots = append(t.roots, &root{index: i, dir: dir, abs: abs, limit: s.names})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger = newLedger(waits{s.hold, s.opts.Settle})
	s.ledger.unlisted = s.opts.Dirs
	t.ledger = s.ledger
	return t, nil
}

// Run implements [config.Source]. A folder that is missing at the start is a
// problem, and is read when it appears. Changes that arrive while the receiver
// is busy merge into one step, whose At is the first of them. Run may be
// called once.
func (s *Source) Run(ctx context.Context, steps chan<- config.Step) error {
	w := openWatcher(s.opts.Log)
	defer w.close()
	t, err := s.tree(w)
	if err != nil {
		return err
	}
	l := loop{Source: s, tree: t, timer: time.NewTimer(time.Hour)}
	var past []keep.File
	l.saver, past = s.openSaver()
	defer l.saver.close()
	strange := t.recall(past)
	l.timer.Stop()
	defer l.timer.Stop()
	rescan := time.NewTicker(s.opts.Rescan)
	defer rescan.Stop()
	more := make(chan struct{})
	close(more)

	l.changes(func() { t.walk(ctx) })
	if ctx.Err() != nil {
		return nil // it may have seen only a part
	}
	l.saver.put(strange)
	for {
		l.answer()
		var out chan<- config.Step
		if l.ready {
			out = steps
		}
		var idle <-chan struct{}
		if len(t.later) > 0 {
			idle = more
		}
		select {
		case <-ctx.Done():
			return nil
		case out <- l.step:
			l.sent()
		case done := <-s.looks:
			l.look(done)
		case ev := <-w.events():
			l.events(ev)
		case err := <-w.lost():
			s.opts.Log.Warn("events of folders may be lost, everything is looked at again", "error", err)
			t.rescan()
		case <-rescan.C:
			t.rescan()
		case <-idle:
			l.changes(t.proceed)
		case <-l.timer.C:
			l.expire()
		}
	}
}

// loop is the state of one Run.
type loop struct {
	*Source
	tree  *tree
	step  config.Step
	ready bool        // step is to be sent
	timer *time.Timer // runs while files are leaving or unsettled
	first time.Time   // when the first of those that leave vanished
	leave time.Time   // when they are removed; zero when there are none
	looks []*look     // calls to answer
	saver *saver
}

// roundLimit bounds how often a step is put off for events that came while its
// files were read.
const roundLimit = 64

// events takes an event and all that wait behind it. While the files are read
// more may change: those belong to the same step, or it would hold a file
// without what the file refers to.
func (l *loop) events(ev fsnotify.Event) {
	visits := l.visits(append(l.waiting(), ev))
	if len(visits) == 0 {
		return
	}
	l.changes(func() {
		for round := 0; len(visits) > 0 && round < roundLimit; round++ {
			l.tree.process(visits)
			visits = l.visits(l.tree.watch.past())
		}
		l.tree.process(visits)
	})
}

// waiting returns the events that are there already.
func (l *loop) waiting() (out []fsnotify.Event) {
	for {
		select {
		case ev := <-l.tree.watch.events():
			out = append(out, ev)
		default:
			return out
		}
	}
}

// visits returns what has to be looked at because of events, folders before
// what is in them.
func (l *loop) visits(events []fsnotify.Event) (out []visit) {
	seen := map[string]visit{}
	for _, ev := range events {
		if ev.Name != "" {
			path := filepath.Clean(ev.Name)
			seen[path] = seen[path].after(ev)
		}
	}
	byKey := map[key]visit{}
	for path, how := range seen {
		for _, v := range l.tree.affected(path, how) {
			byKey[v.key] = v.with(byKey[v.key])
		}
	}
	out = slices.Collect(maps.Values(byKey))
	slices.SortFunc(out, func(a, b visit) int { return a.key.compare(b.key) })
	return out
}

// changes runs something that may change the ledger, and makes the next step.
func (l *loop) changes(do func()) {
	l.ledger.noticed(l.opts.Now())
	do()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.opts.Now()
	l.step, l.ready = l.ledger.step()
	switch {
	case len(l.ledger.leaving) == 0:
		l.first, l.leave = time.Time{}, time.Time{}
	case l.first.IsZero():
		l.first, l.leave = now, now.Add(l.hold)
	case now.Sub(l.first) < removalLimit:
		l.leave = now.Add(l.hold)
	}
	l.wind(now)
	l.save()
}

// save has the good versions kept that changed.
func (l *loop) save() {
	var files []keep.File
	for k := range l.ledger.unsaved {
		if l.saver != nil {
			files = append(files, l.ledger.saved(k))
		}
	}
	clear(l.ledger.unsaved)
	l.saver.put(files)
}

// wind sets the timer for the next of what is due.
func (l *loop) wind(now time.Time) {
	due := l.ledger.wakes()
	if due.IsZero() || !l.leave.IsZero() && l.leave.Before(due) {
		due = l.leave
	}
	if due.IsZero() {
		l.timer.Stop()
		return
	}
	l.timer.Reset(max(due.Sub(now), time.Millisecond))
}

func (l *loop) sent() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ledger.sent(l.step)
	l.step, l.ready = config.Step{}, false
}

// expire removes the objects of the files that are still gone, and those that
// are still gone from files, whose time has come.
func (l *loop) expire() {
	now := l.opts.Now()
	gone := !l.leave.IsZero() && !now.Before(l.leave)
	l.changes(func() {
		news := append(l.waiting(), l.tree.watch.past()...)
		l.tree.process(append(l.visits(news), l.due(now, gone)...))
		l.tree.tell(func(led *ledger) {
			if gone {
				for k := range led.leaving {
					led.remove(k)
				}
			}
			led.settle(now)
		})
	})
}

// due returns what expire looks at.
func (l *loop) due(now time.Time, gone bool) (visits []visit) {
	for _, r := range l.tree.roots {
		visits = append(visits, visit{key: key{r, ""}})
	}
	if gone {
		for k := range l.ledger.leaving {
			visits = append(visits, visit{key: k})
		}
	}
	for k, r := range l.ledger.unsettled {
		if len(r.aside) > 0 && !now.Before(r.due) {
			visits = append(visits, visit{key: k})
		}
	}
	slices.SortFunc(visits, func(a, b visit) int { return a.key.compare(b.key) })
	return visits
}
