package file

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// slow opens a file as a shell's redirection does: what it held is gone at once.
func slow(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func say(t *testing.T, f *os.File, text string) {
	t.Helper()
	_, err := f.WriteString(text)
	must(t, err)
}

// A writer that pauses between two documents takes nothing away, however often
// the first part was read.
func TestWriterThatPausesBetweenDocuments(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	write(t, a, object("a", "1")+"---\n"+object("b", "1"))
	r := run(t, 0, dir)
	for _, v := range []string{"2", "3", "4"} {
		f := slow(t, a)
		say(t, f, object("a", v)+"---\n")
		r.until("a=" + v + " b=1") // what changes is live at once
		say(t, f, object("c"+v, "1")+"---\n")
		r.until("a=" + v + " b=1 c" + v + "=1") // what is added, too
		say(t, f, object("b", "1"))
		r.until("a=" + v + " b=1 c" + v + "=1")
		must(t, f.Close())
		write(t, a, object("a", v)+"---\n"+object("b", "1"))
		r.looked()
		r.until("a=" + v + " b=1")
	}
	if len(r.removed) != 3 {
		t.Errorf("removed %v, want c2, c3 and c4", r.removed)
	}
}

// Pauses as short as those of a busy editor: what the file holds before and
// after is served all the time.
func TestWriterThatPausesOften(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	parts := []string{object("a", "1"), "---\n" + object("b", "1"), "---\napiVersion: v1\nkind: Thing\n", "metadata:\n  name: c\nv: \"1\"\n"}
	write(t, a, strings.Join(parts, ""))
	r := run(t, 0, dir)
	done := make(chan error, 1)
	go func() {
		for range 20 {
			if err := rewrite(t.Context(), a, parts); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for writing := true; writing; {
		select {
		case st := <-r.steps:
			r.add(st)
		case err := <-done:
			must(t, err)
			writing = false
		}
	}
	r.looked()
	r.until("a=1 b=1 c=1")
	r.kept()
	if len(r.served["a"]) != 1 || len(r.served["b"]) != 1 || len(r.served["c"]) != 1 {
		t.Errorf("served %v, want each once", r.served)
	}
}

// rewrite writes a file in parts, 2 ms after each other.
func rewrite(ctx context.Context, path string, parts []string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range parts {
		if _, err := f.WriteString(p); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

// A first part that parses is not what a broken file falls back to.
func TestFirstPartIsNotTheLastGoodVersion(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	write(t, a, object("a", "1")+"---\n"+object("b", "1"))
	r := run(t, 0, dir)
	f := slow(t, a)
	say(t, f, object("a", "2"))
	r.until("a=2 b=1")
	say(t, f, "---\napiVersion: v1\nkind: Thing\nmetad")
	r.until("a=1 b=1", "a.yaml:9 InvalidSyntax")
	r.looked() // it stays broken for longer than any wait
	r.src.mu.Lock()
	waits := len(r.src.ledger.unsettled)
	r.src.mu.Unlock()
	if waits != 0 {
		t.Error("a broken file waits for the time to take its objects away")
	}
	say(t, f, "ata:\n  name: b\nv: \"2\"\n")
	r.until("a=2 b=2")
	r.kept()
}

// What was still for long enough is good: a later fault falls back to it.
func TestStillVersionBecomesTheLastGood(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	write(t, a, object("a", "1")+"---\n"+object("b", "1"))
	r := run(t, 0, dir)
	write(t, a, object("a", "2"))
	r.until("a=2 b=1")
	r.until("a=2")
	write(t, a, object("a", "3")+"\tbroken")
	r.until("a=2", "a.yaml:6 InvalidSyntax")
}

// One that was renamed into its place does not wait to be still.
func TestRenamedFileWaitsNoLongerThanAVanishedOne(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	write(t, a, object("a", "1")+"---\n"+object("b", "1"))
	src := New(Options{Dirs: []string{dir}, Rescan: time.Hour, Settle: time.Hour})
	r := receive(t, src)
	replace(t, a, object("a", "2"))
	r.until("a=2")
	// Behind a link that is swapped, as in a volume of Kubernetes.
	dir = t.TempDir()
	volume(t, dir, "1", map[string]string{"a.yaml": object("a", "1") + "---\n" + object("b", "1")})
	r = receive(t, New(Options{Dirs: []string{dir}, Rescan: time.Hour, Settle: time.Hour}))
	volume(t, dir, "2", map[string]string{"a.yaml": object("a", "2")})
	r.until("a=2")
}

// A file that is removed and written anew at its name is not one that was moved
// there: its first part takes nothing away.
func TestFileMadeAnewIsWrittenSlowly(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	write(t, a, object("a", "1")+"---\n"+object("b", "1"))
	r := run(t, 0, dir)
	must(t, os.Rename(a, a+"~"))
	f := slow(t, a)
	say(t, f, object("a", "2")+"---\n")
	r.until("a=2 b=1")
	say(t, f, object("b", "2"))
	r.until("a=2 b=2")
	r.kept()
}

// An object that moves from one file to another is the other's at once.
func TestObjectMovesFromFileInPlace(t *testing.T) {
	dir := t.TempDir()
	a, z := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "z.yaml")
	write(t, a, object("a", "1")+"---\n"+object("b", "1"))
	r := run(t, 0, dir)
	write(t, a, object("a", "1"))
	write(t, z, object("b", "2"))
	r.until("a=1 b=2")
	r.looked()
	r.until("a=1 b=2")
	r.kept()
}

// The wait is over only when a look finds the file as it was, events or not.
func TestStillnessIsLookedAt(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	write(t, a, object("a", "1")+"---\n"+object("b", "1"))
	now := time.Unix(1_000_000, 0)
	src := New(Options{Dirs: []string{dir}, Now: func() time.Time { now = now.Add(time.Millisecond); return now }})
	tr, err := src.tree(nil)
	must(t, err)
	l := loop{Source: src, tree: tr, timer: time.NewTimer(time.Hour)}
	r := &receiver{t: t, src: src, have: map[string]string{}, seen: map[string]uint64{}, served: map[string][]string{}}
	take := func(want string) {
		t.Helper()
		if l.ready {
			r.add(l.step)
			l.sent()
		}
		if r.objects() != want {
			t.Fatalf("have %s, want %s", r.objects(), want)
		}
	}
	rescan := func() {
		tr.rescan()
		for len(tr.later) > 0 {
			l.changes(tr.proceed)
		}
	}
	l.changes(func() { tr.walk(t.Context()) })
	take("a=1 b=1")
	write(t, a, object("a", "2"))
	rescan()
	take("a=2 b=1")
	now = now.Add(DefaultSettle)
	write(t, a, object("a", "22"))
	l.expire()
	take("a=22 b=1")
	now = now.Add(DefaultSettle - 20*time.Millisecond)
	l.expire()
	take("a=22 b=1")
	now = now.Add(20 * time.Millisecond)
	l.expire()
	take("a=22")
}
