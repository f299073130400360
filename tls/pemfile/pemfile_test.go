package pemfile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// block returns a PEM block with a word inside.
func block(word string) string {
	return "-----BEGIN THING-----\n" + word + "\n-----END THING-----\n"
}

// files is a folder for a test.
type files struct {
	t   *testing.T
	dir string
}

func newFiles(t *testing.T) files { return files{t, t.TempDir()} }

func (f files) path(name string) string { return filepath.Join(f.dir, name) }

func (f files) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f files) mkdir(name string) { f.t.Helper(); f.check(os.MkdirAll(f.path(name), 0o700)) }

func (f files) write(name, text string) {
	f.t.Helper()
	f.check(os.WriteFile(f.path(name), []byte(text), 0o600))
}

func (f files) rename(from, to string) { f.t.Helper(); f.check(os.Rename(f.path(from), f.path(to))) }

func (f files) link(target, name string) {
	f.t.Helper()
	f.check(os.Symlink(target, f.path(name)))
}

// started is a source that runs.
type started struct {
	*Source
	t   *testing.T
	out chan Contents
}

// start runs a source with the watcher that open gives until the test ends.
func start(t *testing.T, o Options, open func(*slog.Logger) *watcher) started {
	t.Helper()
	s := started{New(o), t, make(chan Contents)}
	ctx, cancel := context.WithCancel(t.Context())
	w, done := open(s.log), make(chan error, 1)
	go func() { done <- s.run(ctx, s.out, w) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.close()
	})
	return s
}

func (s started) next() Contents {
	s.t.Helper()
	select {
	case c := <-s.out:
		return c
	case <-time.After(20 * time.Second):
		s.t.Fatal("nothing came")
		return nil
	}
}

// until receives until path has the content, or the fault, of a text.
func (s started) until(path, text string) {
	s.t.Helper()
	for {
		c := s.next()
		if f, ok := c[path]; ok && (string(f.Bytes) == text && f.Err == "" || f.Err != "" && strings.Contains(f.Err, text)) {
			return
		}
	}
}

func TestFirstAllThenChanges(t *testing.T) {
	f := newFiles(t)
	f.write("a", block("1"))
	f.write("b", block("1"))
	s := start(t, Options{Rescan: time.Hour}, openWatcher)
	s.Want([]string{f.path("b"), f.path("a"), f.path("a"), f.path("c")})
	first := s.next()
	if len(first) != 3 || string(first[f.path("a")].Bytes) != block("1") || first[f.path("c")].Err == "" {
		t.Fatalf("first came %v", first)
	}
	f.write("new", block("2"))
	f.rename("new", "a")
	if got := s.next(); len(got) != 1 || string(got[f.path("a")].Bytes) != block("2") {
		t.Errorf("then came %v", got)
	}
	f.write("d", block("1"))
	s.Want([]string{f.path("a"), f.path("d")})
	if got := s.next(); len(got) != 1 || string(got[f.path("d")].Bytes) != block("1") {
		t.Errorf("of a new set came %v", got)
	}
	// b is not wanted any more: its change is not told, that of a is.
	f.write("b", block("2"))
	f.write("new", block("3"))
	f.rename("new", "a")
	if got := s.next(); len(got) != 1 || string(got[f.path("a")].Bytes) != block("3") {
		t.Errorf("after that came %v", got)
	}
	s.Want([]string{f.path("b")})
	if got := s.next(); len(got) != 1 || string(got[f.path("b")].Bytes) != block("2") {
		t.Errorf("for one wanted again came %v", got)
	}
}

func TestNothingWantedIsToldOnce(t *testing.T) {
	f := newFiles(t)
	f.write("a", block("1"))
	s := start(t, Options{}, openWatcher)
	s.Want(nil)
	if got := s.next(); len(got) != 0 {
		t.Errorf("first came %v", got)
	}
	s.Want(nil)
	s.Want([]string{f.path("a")})
	if got := s.next(); len(got) != 1 {
		t.Errorf("then came %v", got)
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	f := newFiles(t)
	f.mkdir("folder")
	f.write("empty", "\n")
	f.write("half", block("1")+"-----BEGIN THING-----\nabc")
	f.write("begun", "-----BEG")
	f.write("cut", strings.TrimSuffix(block("1"), "-----\n"))
	f.write("large", strings.Repeat("x", maxBytes+1))
	f.write("full", block(strings.Repeat("x", maxBytes-len(block("")))))
	f.write("text", "whatever it means is for others")
	f.link("loop", "loop")
	f.check(syscall.Mkfifo(f.path("pipe"), 0o600))
	want := map[string]string{
		"folder": "is not a regular file", "pipe": "is not a regular file", "empty": "it is empty", "half": "ends inside of a PEM block",
		"begun": "ends inside", "cut": "ends inside", "large": "is larger than", "loop": "cannot be read: too many", "missing": "does not exist",
		"text/below": "cannot be read: not a directory", "full": "", "text": "",
	}
	s := start(t, Options{}, openWatcher)
	var paths []string
	for name := range want {
		paths = append(paths, f.path(name))
	}
	s.Want(paths)
	got := s.next()
	for name, fault := range want {
		c := got[f.path(name)]
		if fault == "" && (c.Err != "" || c.Bytes == nil) || fault != "" && (!strings.Contains(c.Err, fault) || c.Bytes != nil) {
			t.Errorf("%s: %v, want %q", name, c, fault)
		}
		if strings.Contains(c.Err, f.dir) {
			t.Errorf("%s: %q names the path twice for its reader", name, c.Err)
		}
	}
}

// Every way in which people and programs replace files is seen.
func TestRotation(t *testing.T) {
	cases := []struct {
		name    string
		path    string
		prepare func(files)
		rotate  func(files)
		want    string // the content, or a part of the fault
	}{
		{"renamed over", "a", func(f files) { f.write("a", block("1")) }, func(f files) { f.write("b", block("2")); f.rename("b", "a") }, block("2")},
		{"written in place", "a", func(f files) { f.write("a", block("1")) }, func(f files) { f.write("a", block("2")) }, block("2")},
		{"removed", "a", func(f files) { f.write("a", block("1")) }, func(f files) { f.check(os.Remove(f.path("a"))) }, "does not exist"},
		{"made with its folders", "x/y/a", func(files) {}, func(f files) { f.mkdir("x/y"); f.write("x/y/a", block("2")) }, block("2")},
		{"as Kubernetes does", "a", func(f files) {
			f.mkdir("..1")
			f.write("..1/a", block("1"))
			f.link("..1", "..data")
			f.link("..data/a", "a")
		}, func(f files) {
			f.mkdir("..2")
			f.write("..2/a", block("2"))
			f.link("..2", "..data_tmp")
			f.rename("..data_tmp", "..data")
			f.check(os.RemoveAll(f.path("..1")))
		}, block("2")},
		{"a link turned elsewhere", "live/a", func(f files) {
			f.mkdir("archive/1")
			f.mkdir("archive/2")
			f.mkdir("live")
			f.write("archive/1/a", block("1"))
			f.write("archive/2/a", block("2"))
			f.link("../archive/1/a", "live/a")
		}, func(f files) { f.link("../archive/2/a", "live/b"); f.rename("live/b", "live/a") }, block("2")},
		{"what a link leads to, through a link to a folder", "shown/a", func(f files) {
			f.mkdir("real")
			f.write("real/b", block("1"))
			f.link("b", "real/a")
			f.link(f.path("real"), "shown")
		}, func(f files) { f.write("real/b", block("2")) }, block("2")},
		{"its folder exchanged", "certs/a", func(f files) {
			f.mkdir("certs")
			f.mkdir("next")
			f.write("certs/a", block("1"))
			f.write("next/a", block("2"))
		}, func(f files) { f.rename("certs", "last"); f.rename("next", "certs") }, block("2")},
		{"its folder made anew", "certs/a", func(f files) { f.mkdir("certs"); f.write("certs/a", block("1")) }, func(f files) {
			f.check(os.RemoveAll(f.path("certs")))
			f.mkdir("certs")
			f.write("certs/a", block("2"))
		}, block("2")},
		{"a folder far above exchanged", "x/y/a", func(f files) {
			f.mkdir("x/y")
			f.mkdir("z/y")
			f.write("x/y/a", block("1"))
			f.write("z/y/a", block("2"))
		}, func(f files) { f.rename("x", "w"); f.rename("z", "x") }, block("2")},
		{"half written", "a", func(f files) { f.write("a", block("1")) }, func(f files) { f.write("a", "-----BEGIN THING-----\n") }, "ends inside"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := newFiles(t)
			c.prepare(f)
			s := start(t, Options{Rescan: time.Hour}, openWatcher)
			s.Want([]string{f.path(c.path)})
			s.next()
			c.rotate(f)
			s.until(f.path(c.path), c.want)
			// The watch is on what is there now.
			f.mkdir(filepath.Dir(c.path))
			f.write("after", block("3"))
			f.rename("after", c.path)
			s.until(f.path(c.path), block("3"))
		})
	}
}

// Both files of a pair come in one message when one link turns both.
func TestPairComesTogether(t *testing.T) {
	f := newFiles(t)
	for _, n := range []string{"1", "2"} {
		f.mkdir(n)
		f.write(n+"/crt", block("crt"+n))
		f.write(n+"/key", block("key"+n))
	}
	f.link("1", "now")
	s := start(t, Options{Rescan: time.Hour}, openWatcher)
	s.Want([]string{f.path("now/crt"), f.path("now/key")})
	s.next()
	f.link("2", "next")
	f.rename("next", "now")
	if got := s.next(); string(got[f.path("now/crt")].Bytes) != block("crt2") || string(got[f.path("now/key")].Bytes) != block("key2") {
		t.Errorf("came %v", got)
	}
}

// What is not taken is replaced by what is newer.
func TestSlowReceiverGetsTheNewest(t *testing.T) {
	f := newFiles(t)
	f.write("a", block("0"))
	s := start(t, Options{Rescan: time.Hour}, openWatcher)
	s.Want([]string{f.path("a")})
	s.next()
	for i := range 50 {
		f.write("b", block(fmt.Sprint(i)))
		f.rename("b", "a")
	}
	s.until(f.path("a"), block("49"))
}

// Without a watcher the periodic scan finds the change.
func TestRescan(t *testing.T) {
	f := newFiles(t)
	f.write("a", block("1"))
	s := start(t, Options{Rescan: time.Millisecond}, func(*slog.Logger) *watcher { return nil })
	s.Want([]string{f.path("a")})
	s.next()
	f.write("b", block("2"))
	f.rename("b", "a")
	if got := s.next(); string(got[f.path("a")].Bytes) != block("2") {
		t.Errorf("came %v", got)
	}
	s.Want(nil)
}

// Lost events cause a look at everything.
func TestLostEvents(t *testing.T) {
	f := newFiles(t)
	f.write("a", block("1"))
	var w *watcher
	s := start(t, Options{Rescan: time.Hour}, func(log *slog.Logger) *watcher {
		w = openWatcher(log)
		return w
	})
	s.Want([]string{f.path("a")})
	s.next()
	for _, dir := range w.fs.WatchList() {
		f.check(w.fs.Remove(dir))
	}
	f.write("a", block("2"))
	w.faults <- fsnotify.ErrEventOverflow
	if got := s.next(); string(got[f.path("a")].Bytes) != block("2") {
		t.Errorf("came %v", got)
	}
}

// A change is over after a pause, and told after a while even without one.
func TestCalm(t *testing.T) {
	ours, others := fsnotify.Event{Name: "ours"}, fsnotify.Event{Name: "others"}
	for _, c := range []struct {
		name  string
		every time.Duration
		event fsnotify.Event
		count int
		want  time.Duration
	}{
		{"one event", 0, ours, 0, quiet},
		{"a second one", 8 * time.Millisecond, ours, 1, 18 * time.Millisecond},
		{"a stream", 4 * time.Millisecond, ours, 20, patience},
		{"others", 4 * time.Millisecond, others, 2, quiet},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				events := make(chan fsnotify.Event)
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					for range c.count {
						select {
						case <-time.After(c.every):
						case <-ctx.Done():
							return
						}
						select {
						case events <- c.event:
						case <-ctx.Done():
							return
						}
					}
				}()
				began := time.Now()
				calm(t.Context(), events, func(ev fsnotify.Event) bool { return ev == ours })
				if took := time.Since(began); took != c.want {
					t.Errorf("took %v, want %v", took, c.want)
				}
				cancel()
			})
		})
	}
}

// Nothing is left watched of what nobody wants.
func TestFollowerForgets(t *testing.T) {
	f := newFiles(t)
	f.mkdir("x")
	f.write("x/a", block("1"))
	f.link("x", "y")
	w := openWatcher(slog.New(slog.DiscardHandler))
	defer w.close()
	fl := newFollower(w)
	for range 2 {
		for _, name := range []string{"x/a", "y/a", "none/a"} {
			fl.follow(f.path(name))
		}
	}
	if list := w.fs.WatchList(); !slices.Contains(list, f.path("x")) || !slices.Contains(list, f.dir) || !slices.Contains(list, "/") {
		t.Errorf("watched are %q", list)
	}
	fl.drop(f.path("x/a"))
	if list := w.fs.WatchList(); !slices.Contains(list, f.path("x")) {
		t.Errorf("y/a leads to x, watched are %q", list)
	}
	fl.drop(f.path("y/a"))
	fl.drop(f.path("none/a"))
	if list := w.fs.WatchList(); len(list)+len(fl.steps)+len(fl.users)+len(fl.folders) > 0 {
		t.Errorf("still watched are %q, %d steps, %d users, %d folders", list, len(fl.steps), len(fl.users), len(fl.folders))
	}
}

func TestContentsShowNoContent(t *testing.T) {
	c := Contents{"a": {Bytes: []byte("sssecret")}, "b": {Err: "it is empty"}}
	var log bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&log, verb+verb, c, c["a"])
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("files", "files", c, "one", c["a"])
	}
	if err := json.NewEncoder(&log).Encode(c); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"secret", "115 115 115", "737373", "c3Nz"} {
		if strings.Contains(log.String(), form) {
			t.Errorf("%q is in %s", form, log.String())
		}
	}
	if !strings.Contains(log.String(), "8 bytes") || !strings.Contains(log.String(), "it is empty") {
		t.Errorf("printed was %s", log.String())
	}
}
