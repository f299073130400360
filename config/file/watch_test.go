package file

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicegw/sluice/model"
)

func TestFirstStep(t *testing.T) {
	t.Run("empty folder", func(t *testing.T) {
		r := run(t, 0, t.TempDir())
		r.until("")
	})
	t.Run("folders in the order of the arguments", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(mkdir(t, dir, "b"), "z.yaml"), object("one", "1"))
		write(t, filepath.Join(mkdir(t, dir, "b", "sub"), "y.yml"), object("two", "1")+"---\n"+object("three", "1"))
		write(t, filepath.Join(mkdir(t, dir, "b", ".git"), "x.yaml"), object("hidden", "1"))
		write(t, filepath.Join(dir, "b", "notes.txt"), "no")
		write(t, filepath.Join(mkdir(t, dir, "a"), "x.json"), `{"apiVersion":"v1","kind":"Thing","metadata":{"name":"four"},"v":"1"}`)
		r := run(t, 0, filepath.Join(dir, "b"), filepath.Join(dir, "a"))
		r.until("four=1 one=1 three=1 two=1")
		var order []string
		for _, o := range r.last.Upserts {
			order = append(order, fmt.Sprintf("%s#%d", o.Order.Path, o.Order.Index))
		}
		want := []string{"0000:sub/y.yml#0", "0000:sub/y.yml#1", "0000:z.yaml#0", "0001:x.json#0"}
		if !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
	})
	t.Run("missing folder appears", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "conf")
		r := run(t, 0, dir)
		r.until("", "conf:0 UnreadableFile")
		must(t, os.Mkdir(dir, 0o755))
		write(t, filepath.Join(dir, "a.yaml"), object("a", "1"))
		r.until("a=1")
	})
}

func TestEdits(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	r := run(t, 0, dir)

	write(t, a, object("a", "1"))
	r.until("a=1")
	replace(t, b, object("b", "1"))
	r.until("a=1 b=1")
	replace(t, a, object("a", "2"))
	r.until("a=2 b=1")
	if len(r.last.Upserts) != 1 {
		t.Errorf("one edit brought %d objects", len(r.last.Upserts))
	}
	// An editor that keeps a copy: away, written anew, copy deleted.
	must(t, os.Rename(a, a+"~"))
	write(t, a, object("a", "3"))
	must(t, os.Remove(a+"~"))
	r.until("a=3 b=1")
	// A file that moves takes its objects along.
	must(t, os.Rename(a, filepath.Join(dir, "c.yaml")))
	replace(t, b, object("b", "2"))
	r.until("a=3 b=2")
	r.kept()
	must(t, os.Remove(b))
	r.until("a=3")
	must(t, os.Rename(filepath.Join(dir, "c.yaml"), filepath.Join(dir, "c.txt")))
	r.until("")
}

// What moves no object but only its line is no change.
func TestLinesAlone(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	write(t, a, object("a", "1"))
	r := run(t, 0, dir)
	r.until("a=1")
	replace(t, a, "# comment\n\n"+object("a", "1"))
	replace(t, filepath.Join(dir, "b.yaml"), object("b", "1"))
	r.until("a=1 b=1")
	if got := r.served["a"]; len(got) != 1 {
		t.Errorf("a was sent %d times", len(got))
	}
	if p := r.src.Locate(model.Ref{Kind: "Thing", Namespace: "default", Name: "a"}, "v"); p.Line != 7 {
		t.Errorf("located at %+v", p)
	}
}

func TestHalfWritten(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	write(t, a, object("a", "1")+"---\n"+object("b", "1"))
	r := run(t, 0, dir)
	r.until("a=1 b=1")

	f, err := os.OpenFile(a, os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteString(object("a", "2") + "---\napiVersion: v1\nkind: Thing\nmetad")
	must(t, err)
	r.until("a=1 b=1", "a.yaml:9 InvalidSyntax")
	_, err = f.WriteString("ata:\n")
	must(t, err)
	r.until("a=2 b=1", "a.yaml:7 MissingField") // b may be the one without a name
	_, err = f.WriteString("  name: c\nv: \"1\"\n")
	must(t, err)
	r.until("a=2 c=1")
	if !slices.Equal(r.removed, []string{"b"}) {
		t.Errorf("removed %v, want b once", r.removed)
	}

	replace(t, a, object("a", "3")+"v: \"4\"\n---\n"+object("c", "2"))
	r.until("a=2 c=2", "a.yaml:6 InvalidSyntax")
	r.settled()
	if o := r.problems[0].Object; o.Name != "a" || r.problems[0].Field != "v" {
		t.Errorf("problem of %s %s", o, r.problems[0].Field)
	}
	replace(t, a, "\tnot: yaml")
	r.until("a=2 c=2", "a.yaml:1 InvalidSyntax")
	must(t, os.Remove(a))
	r.until("")
}

// An empty file may be one that is about to be written; once still, it counts.
func TestEmptied(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), object("a", "1"))
	r := receive(t, New(Options{Dirs: []string{dir}, Rescan: time.Hour, Settle: time.Hour}))
	r.until("a=1")
	write(t, filepath.Join(dir, "a.yaml"), "")
	replace(t, filepath.Join(dir, "b.yaml"), object("b", "1"))
	r.until("a=1 b=1")
	r.kept()

	dir = t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), object("a", "1"))
	r = run(t, 0, dir)
	write(t, filepath.Join(dir, "a.yaml"), "")
	r.until("")
}

func TestDuplicates(t *testing.T) {
	dir := t.TempDir()
	a, b, c := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml"), filepath.Join(dir, "c.yaml")
	write(t, b, "# first\n"+object("x", "b"))
	write(t, c, object("x", "c"))
	r := run(t, 0, dir)
	r.until("x=b", "c.yaml:1 DuplicateObject")
	if m := r.problems[0].Message; !strings.Contains(m, b+":2") {
		t.Errorf("the message does not name the winner: %s", m)
	}
	// A newcomer takes nothing by its name.
	replace(t, a, object("x", "a"))
	r.until("x=b", "a.yaml:1 DuplicateObject", "c.yaml:1 DuplicateObject")
	replace(t, b, "# first\n"+object("x", "bb"))
	r.until("x=bb", "a.yaml:1 DuplicateObject", "c.yaml:1 DuplicateObject")
	must(t, os.Remove(a))
	r.until("x=bb", "c.yaml:1 DuplicateObject")
	replace(t, b, object("y", "b"))
	r.until("x=c y=b")
	r.kept()
	if got := r.served["x"]; !slices.Equal(got, []string{"b", "bb", "c"}) {
		t.Errorf("x was %v", got)
	}
	replace(t, c, object("x", "1")+"---\n"+object("x", "2"))
	r.until("x=1 y=b", "c.yaml:7 DuplicateObject")
}

func TestFolders(t *testing.T) {
	dir := t.TempDir()
	r := run(t, 0, dir)
	other := t.TempDir()
	write(t, filepath.Join(mkdir(t, other, "new", "deep"), "a.yaml"), object("a", "1"))
	must(t, os.Rename(filepath.Join(other, "new"), filepath.Join(dir, "new")))
	r.until("a=1")
	replace(t, filepath.Join(dir, "new", "deep", "a.yaml"), object("a", "2"))
	r.until("a=2")
	must(t, os.MkdirAll(filepath.Join(dir, "p", "q", "r"), 0o755))
	write(t, filepath.Join(dir, "p", "q", "r", "b.yaml"), object("b", "1"))
	r.until("a=2 b=1")
	must(t, os.Rename(filepath.Join(dir, "p", "q"), filepath.Join(dir, "p", "s")))
	replace(t, filepath.Join(dir, "p", "s", "r", "b.yaml"), object("b", "2"))
	r.until("a=2 b=2")
	r.kept()
	must(t, os.RemoveAll(filepath.Join(dir, "new")))
	r.until("b=2")
	write(t, filepath.Join(mkdir(t, dir, "new", "deep"), "a.yaml"), object("a", "3"))
	r.until("a=3 b=2")
	must(t, os.RemoveAll(filepath.Join(dir, "p")))
	r.until("a=3")
}

// One edit among thousands reads one file.
func TestOneEditOneRead(t *testing.T) {
	dir := t.TempDir()
	const n = 2000
	for i := range n {
		write(t, filepath.Join(dir, fmt.Sprintf("%04d.yaml", i)), object(fmt.Sprintf("o%04d", i), "1"))
	}
	r := run(t, 0, dir)
	if len(r.have) != n || r.src.reader.opened.Load() != n {
		t.Fatalf("%d objects from %d reads", len(r.have), r.src.reader.opened.Load())
	}
	for i := range 5 {
		v := fmt.Sprint(i + 2)
		replace(t, filepath.Join(dir, "0777.yaml"), object("o0777", v))
		for r.have["o0777"] != v {
			r.take()
		}
		if len(r.last.Upserts) != 1 || len(r.last.Removals) != 0 {
			t.Errorf("one edit brought %d objects, removed %d", len(r.last.Upserts), len(r.last.Removals))
		}
	}
	if reads := r.src.reader.opened.Load() - n; reads != 5 {
		t.Errorf("5 edits led to %d reads", reads)
	}
}

// Every edit of a storm arrives, and a slow receiver gets them merged.
func TestStorm(t *testing.T) {
	dir := t.TempDir()
	r := run(t, 0, dir)
	const files, edits = 50, 500
	for i := range edits {
		name := fmt.Sprintf("o%d", i%files)
		replace(t, filepath.Join(dir, name+".yaml"), object(name, fmt.Sprint(i)))
	}
	steps := 0
	for i := edits - files; i < edits; i++ {
		for r.have[fmt.Sprintf("o%d", i%files)] != fmt.Sprint(i) {
			r.take()
			steps++
		}
	}
	if steps >= edits {
		t.Errorf("%d steps for %d edits that nobody took", steps, edits)
	}
	r.kept()
}

// The rescan finds what no event told.
func TestRescanAlone(t *testing.T) {
	dir := mkdir(t, t.TempDir(), "conf")
	write(t, filepath.Join(mkdir(t, dir, "sub"), "a.yaml"), object("a", "1"))
	src := New(Options{Dirs: []string{dir}})
	src.hold = 0
	tr, err := src.tree(nil)
	must(t, err)
	r := &receiver{t: t, src: src, have: map[string]string{}, seen: map[string]uint64{}, served: map[string][]string{}}
	l := loop{Source: src, tree: tr, timer: time.NewTimer(time.Hour)}
	look := func(want string) {
		t.Helper()
		tr.rescan()
		for len(tr.later) > 0 {
			l.changes(tr.proceed)
		}
		if l.ready {
			r.add(l.step)
			l.sent()
		}
		if r.objects() != want {
			t.Fatalf("have %s, want %s", r.objects(), want)
		}
	}
	l.changes(func() { tr.walk(t.Context()) })
	look("a=1")
	write(t, filepath.Join(dir, "sub", "a.yaml"), object("a", "2")) // same size, maybe the same time
	look("a=2")
	for i := range 3 * rescanSlice {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), object("b", "1"))
	}
	look("a=2 b=1")
	must(t, os.RemoveAll(filepath.Join(dir, "sub")))
	look("a=2 b=1")
	l.expire()
	look("b=1")
	must(t, os.RemoveAll(dir))
	look("b=1")
	l.expire()
	look("b=1")
}
