package file

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// looked takes steps until a call of Look has returned.
func (r *receiver) looked() {
	r.t.Helper()
	done := make(chan error, 1)
	go func() { done <- r.src.Look(r.t.Context()) }()
	timeout := time.After(deadline)
	for {
		select {
		case st := <-r.steps:
			r.add(st)
		case err := <-done:
			must(r.t, err)
			return
		case <-timeout:
			r.t.Fatal("no answer to a look")
		}
	}
}

func TestLookEndsWhenTheReceiverHasWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	r := run(t, 0, dir)
	a := filepath.Join(dir, "a.yaml")
	for i := range 50 {
		v := fmt.Sprint(i)
		replace(t, a, object("a", v))
		write(t, filepath.Join(mkdir(t, dir, "sub"+v), "b.yaml"), object("b"+v, "1"))
		r.looked()
		if r.have["a"] != v || r.have["b"+v] != "1" {
			t.Fatalf("after edit %d the receiver has a=%s and b=%s", i, r.have["a"], r.have["b"+v])
		}
	}
	r.kept()
	must(t, os.Remove(a))
	must(t, os.RemoveAll(filepath.Join(dir, "sub7")))
	r.looked()
	if len(r.removed) != 2 {
		t.Errorf("removed %v, want a and b7: a look ends after what is held back", r.removed)
	}
	write(t, filepath.Join(dir, "bad.yaml"), "\tnot: yaml")
	r.looked()
	if got := r.faults(); len(got) != 1 {
		t.Errorf("problems %v, want that of bad.yaml", got)
	}
}

// A rescan that was under way has gone past what changed since.
func TestLookAmidRescanTakesTheNext(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 * rescanSlice {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), object(fmt.Sprint("o", i), "1"))
	}
	src := New(Options{Dirs: []string{dir}})
	tr, err := src.tree(nil)
	must(t, err)
	l := loop{Source: src, tree: tr, timer: time.NewTimer(time.Hour)}
	l.changes(func() { tr.walk(t.Context()) })
	l.sent()
	tr.rescan()
	for range 2 { // the folder, then the first of its files
		l.changes(tr.proceed)
	}
	for i := range 3 * rescanSlice {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), object(fmt.Sprint("o", i), "22"))
	}
	done := make(chan struct{})
	answered := func() bool {
		l.answer()
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	l.look(done)
	first := tr.rescans
	for len(tr.later) > 0 {
		l.changes(tr.proceed)
		if l.ready {
			l.sent()
		}
	}
	if answered() || tr.rescans != first+1 {
		t.Fatalf("%d rescans begun after the one under way, want 1 and no answer yet", tr.rescans-first)
	}
	for len(tr.later) > 0 {
		l.changes(tr.proceed)
	}
	if !l.ready || answered() {
		t.Fatal("answered before the receiver took the step")
	}
	l.sent()
	if !answered() {
		t.Error("no answer although the receiver has everything")
	}
	if reads := src.reader.opened.Load(); reads < 6*rescanSlice {
		t.Errorf("%d reads, want every file twice", reads)
	}
}
