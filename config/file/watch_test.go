package file

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

// deadline is how long a test waits for what must happen.
const deadline = 20 * time.Second

// hold is how long vanished files keep their objects here: long enough that a
// busy machine does not come between two steps of a test.
const hold = time.Second

// receiver runs a source and keeps what its steps add up to.
type receiver struct {
	t        *testing.T
	src      *Source
	steps    chan config.Step
	have     map[string]string // object → its value of "v"
	problems []model.Problem
	last     config.Step
	// removed and served are everything ever removed, and every value ever
	// served of an object.
	removed []string
	served  map[string][]string
}

// run starts a source on folders, without a rescan unless given, and takes the
// first step.
func run(t *testing.T, rescan time.Duration, dirs ...string) *receiver {
	t.Helper()
	if rescan == 0 {
		rescan = time.Hour
	}
	r := &receiver{
		t: t, src: New(Options{Dirs: dirs, Rescan: rescan}), steps: make(chan config.Step),
		have: map[string]string{}, served: map[string][]string{},
	}
	r.src.hold = hold
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.src.Run(ctx, r.steps) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	r.take()
	return r
}

// take takes the next step.
func (r *receiver) take() {
	r.t.Helper()
	select {
	case st := <-r.steps:
		r.add(st)
	case <-time.After(deadline):
		r.t.Fatalf("no step came; have %v, problems %v", r.have, r.problems)
	}
}

func (r *receiver) add(st config.Step) {
	if !st.Synced || st.At.IsZero() {
		r.t.Errorf("step synced %v at %v", st.Synced, st.At)
	}
	if !slices.IsSortedFunc(st.Upserts, func(a, b config.Object) int { return compareOrder(a.Order, b.Order) }) {
		r.t.Errorf("upserts out of order: %v", st.Upserts)
	}
	for _, o := range st.Upserts {
		_, v, _ := strings.Cut(string(o.JSON), `"v":"`)
		v, _, _ = strings.Cut(v, `"`)
		r.have[o.Ref.Name] = v
		r.served[o.Ref.Name] = append(r.served[o.Ref.Name], v)
	}
	for _, ref := range st.Removals {
		if _, ok := r.have[ref.Name]; !ok {
			r.t.Errorf("%s removed that was never there", ref)
		}
		delete(r.have, ref.Name)
		r.removed = append(r.removed, ref.Name)
	}
	r.problems, r.last = st.Problems, st
}

// until takes steps until the objects are as wanted ("a=1 b=2") and the
// problems, too ("file:line Reason").
func (r *receiver) until(objects string, problems ...string) {
	r.t.Helper()
	timeout := time.After(deadline)
	for r.objects() != objects || !slices.Equal(r.faults(), problems) {
		select {
		case st := <-r.steps:
			r.add(st)
		case <-timeout:
			r.t.Fatalf("want %q %v\nhave %q %v", objects, problems, r.objects(), r.problems)
		}
	}
}

// kept fails when anything was ever removed.
func (r *receiver) kept() {
	r.t.Helper()
	if len(r.removed) > 0 {
		r.t.Errorf("removed on the way: %v", r.removed)
	}
}

func (r *receiver) objects() string {
	var out []string
	for name, v := range r.have {
		out = append(out, name+"="+v)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (r *receiver) faults() []string {
	var out []string
	for _, p := range r.problems {
		out = append(out, fmt.Sprintf("%s:%d %s", filepath.Base(p.Place.File), p.Place.Line, p.Reason))
	}
	return out
}

// object is a document that says v of a name.
func object(name, v string) string {
	return "apiVersion: v1\nkind: Thing\nmetadata:\n  name: " + name + "\nv: \"" + v + "\"\n"
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o644))
}

// replace writes a file as careful programs do.
func replace(t *testing.T, path, content string) {
	t.Helper()
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	write(t, tmp, content)
	must(t, os.Rename(tmp, path))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, parts ...string) string {
	t.Helper()
	dir := filepath.Join(parts...)
	must(t, os.MkdirAll(dir, 0o755))
	return dir
}

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
	if o := r.problems[0].Object; o.Name != "a" || r.problems[0].Field != "v" {
		t.Errorf("problem of %s %s", o, r.problems[0].Field)
	}
	replace(t, a, "\tnot: yaml")
	r.until("a=2 c=2", "a.yaml:1 InvalidSyntax")
	must(t, os.Remove(a))
	r.until("")
}

// An empty file may be one that is about to be written; the rescan believes it.
func TestEmptied(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), object("a", "1"))
	r := run(t, 0, dir)
	r.until("a=1")
	write(t, filepath.Join(dir, "a.yaml"), "")
	replace(t, filepath.Join(dir, "b.yaml"), object("b", "1"))
	r.until("a=1 b=1")
	r.kept()

	dir = t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), object("a", "1"))
	r = run(t, 20*time.Millisecond, dir)
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
	replace(t, a, object("x", "a"))
	r.until("x=a", "b.yaml:2 DuplicateObject", "c.yaml:1 DuplicateObject")
	must(t, os.Remove(a))
	r.until("x=b", "c.yaml:1 DuplicateObject")
	replace(t, b, object("y", "b"))
	r.until("x=c y=b")
	r.kept()
	if got := r.served["x"]; !slices.Equal(got, []string{"b", "a", "b", "c"}) {
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

func TestRootGone(t *testing.T) {
	dir := mkdir(t, t.TempDir(), "conf")
	for i := range 50 {
		write(t, filepath.Join(dir, fmt.Sprintf("%02d.yaml", i)), object("a", "1"))
	}
	write(t, filepath.Join(dir, "00.yaml"), object("b", "1"))
	r := run(t, 0, dir)
	before := len(r.problems)
	if before != 48 {
		t.Fatalf("%d problems at the start", before)
	}
	must(t, os.RemoveAll(dir))
	for !strings.Contains(strings.Join(r.faults(), " "), "conf:0 UnreadableFile") {
		r.take()
	}
	if r.objects() != "a=1 b=1" {
		t.Errorf("have %s without a folder", r.objects())
	}
	r.kept()
	must(t, os.Mkdir(dir, 0o755))
	write(t, filepath.Join(dir, "a.yaml"), object("a", "2"))
	write(t, filepath.Join(dir, "c.yaml"), object("c", "2"))
	r.until("a=2 c=2")
	replace(t, filepath.Join(dir, "c.yaml"), object("c", "3"))
	r.until("a=2 c=3")
	// Moved away, another in its place: releases by rename.
	next := mkdir(t, filepath.Dir(dir), "next")
	write(t, filepath.Join(next, "a.yaml"), object("a", "4"))
	must(t, os.Rename(dir, dir+".old"))
	must(t, os.Rename(next, dir))
	r.until("a=4")
	replace(t, filepath.Join(dir, "a.yaml"), object("a", "5"))
	r.until("a=5")
	if slices.Contains(r.removed, "a") {
		t.Errorf("a was removed on the way: %v", r.removed)
	}
}

// A folder that comes back empty counts as empty only when a later rescan says
// the same.
func TestRootBackEmpty(t *testing.T) {
	for _, tc := range []struct {
		rescan time.Duration
		want   string
		bad    []string
	}{
		{time.Hour, "a=1", []string{"conf:0 UnreadableFile"}},
		{20 * time.Millisecond, "", nil},
	} {
		dir := mkdir(t, t.TempDir(), "conf")
		write(t, filepath.Join(dir, "a.yaml"), object("a", "1"))
		r := run(t, tc.rescan, dir)
		must(t, os.Rename(dir, dir+".old"))
		r.until("a=1", "conf:0 UnreadableFile")
		must(t, os.Mkdir(dir, 0o755))
		for tc.rescan == time.Hour && !strings.Contains(r.problems[0].Message, "back empty") {
			r.take()
		}
		r.until(tc.want, tc.bad...)
		write(t, filepath.Join(dir, "b.yaml"), object("b", "1"))
		r.until("b=1")
	}
}

// volume writes a version of a Kubernetes volume and swaps it in as the kubelet
// does.
func volume(t *testing.T, dir, version string, files map[string]string) {
	t.Helper()
	now := mkdir(t, dir, "..v"+version)
	old, _ := os.Readlink(filepath.Join(dir, "..data"))
	for name, content := range files {
		write(t, filepath.Join(now, name), content)
	}
	must(t, os.Symlink(filepath.Base(now), filepath.Join(dir, "..data_tmp")))
	must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	for name := range files {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	list, err := os.ReadDir(dir)
	must(t, err)
	for _, d := range list {
		if _, ok := files[d.Name()]; !ok && d.Type()&fs.ModeSymlink != 0 && !isHidden(d.Name()) {
			must(t, os.Remove(filepath.Join(dir, d.Name())))
		}
	}
	if old != "" {
		must(t, os.RemoveAll(filepath.Join(dir, old)))
	}
}

func TestKubernetesVolume(t *testing.T) {
	dir := t.TempDir()
	volume(t, dir, "1", map[string]string{"a.yaml": object("a", "1"), "b.yaml": object("b", "1")})
	r := run(t, 0, dir)
	r.until("a=1 b=1")
	for i := 2; i < 20; i++ {
		v := fmt.Sprint(i)
		volume(t, dir, v, map[string]string{"a.yaml": object("a", v), "b.yaml": object("b", "1")})
		r.until("a=" + v + " b=1")
	}
	r.kept()
	if got := len(r.served["b"]); got != 1 {
		t.Errorf("b was sent %d times", got)
	}
	volume(t, dir, "20", map[string]string{"a.yaml": object("a", "20"), "c.yaml": object("c", "1")})
	r.until("a=20 c=1")
}

func TestLinks(t *testing.T) {
	dir, away := t.TempDir(), t.TempDir()
	write(t, filepath.Join(mkdir(t, away, "one"), "a.yaml"), object("a", "1"))
	write(t, filepath.Join(mkdir(t, away, "two"), "a.yaml"), object("a", "2"))
	write(t, filepath.Join(away, "f.yaml"), object("f", "1"))
	must(t, os.Symlink(filepath.Join(away, "one"), filepath.Join(dir, "sub")))
	must(t, os.Symlink(filepath.Join(away, "f.yaml"), filepath.Join(dir, "f.yaml")))
	must(t, os.Symlink(".", filepath.Join(dir, "loop")))
	must(t, os.Symlink(dir, filepath.Join(away, "one", "up")))
	must(t, os.Symlink("self", filepath.Join(dir, "self")))
	r := run(t, 0, dir)
	r.until("a=1 f=1")
	write(t, filepath.Join(away, "f.yaml"), object("f", "2"))
	r.until("a=1 f=2")
	replace(t, filepath.Join(away, "one", "a.yaml"), object("a", "3"))
	r.until("a=3 f=2")
	must(t, os.Symlink(filepath.Join(away, "two"), filepath.Join(dir, ".new")))
	must(t, os.Rename(filepath.Join(dir, ".new"), filepath.Join(dir, "sub")))
	r.until("a=2 f=2")
	replace(t, filepath.Join(away, "two", "a.yaml"), object("a", "4"))
	r.until("a=4 f=2")
	must(t, os.Remove(filepath.Join(away, "f.yaml")))
	r.until("a=4 f=2", "f.yaml:0 UnreadableFile")
	write(t, filepath.Join(away, "f.yaml"), object("f", "3"))
	r.until("a=4 f=3")
	r.kept()
}

func TestRootBehindLink(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(mkdir(t, dir, "v1"), "a.yaml"), object("a", "1"))
	write(t, filepath.Join(mkdir(t, dir, "v2"), "a.yaml"), object("a", "2"))
	must(t, os.Symlink("v1", filepath.Join(dir, "current")))
	r := run(t, 0, filepath.Join(dir, "current"))
	r.until("a=1")
	must(t, os.Symlink("v2", filepath.Join(dir, "next")))
	must(t, os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "current")))
	r.until("a=2")
	replace(t, filepath.Join(dir, "v2", "a.yaml"), object("a", "3"))
	r.until("a=3")
	r.kept()
}

func TestUnreadable(t *testing.T) {
	for _, tc := range []struct {
		name string
		make func(t *testing.T, path string)
		say  string
	}{
		{"sparse file of 100 MB", func(t *testing.T, path string) {
			f, err := os.Create(path)
			must(t, err)
			defer f.Close()
			must(t, f.Truncate(100<<20))
		}, "104857600 bytes"},
		{"pipe", func(t *testing.T, path string) { must(t, unix.Mkfifo(path, 0o644)) }, "not a regular file"},
		{"folder", func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o755)) }, "it is a folder"},
		{"link to nothing", func(t *testing.T, path string) { must(t, os.Symlink("nothing", path)) }, "leads nowhere"},
		{"link to itself", func(t *testing.T, path string) { must(t, os.Symlink("a.yaml", path)) }, "leads nowhere"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			a := filepath.Join(dir, "a.yaml")
			write(t, a, object("a", "1"))
			write(t, filepath.Join(dir, "b.yaml"), object("b", "1"))
			r := run(t, 0, dir)
			r.until("a=1 b=1")
			must(t, os.Remove(a))
			tc.make(t, a)
			r.until("a=1 b=1", "a.yaml:0 UnreadableFile")
			if m := r.problems[0].Message; !strings.Contains(m, tc.say) {
				t.Errorf("no %q in %q", tc.say, m)
			}
			replace(t, filepath.Join(dir, "b.yaml"), object("b", "2"))
			r.until("a=1 b=2", "a.yaml:0 UnreadableFile")
			must(t, os.RemoveAll(a))
			write(t, a, object("a", "1"))
			r.until("a=1 b=2")
			r.kept()
			if got := len(r.served["a"]); got != 1 {
				t.Errorf("a was sent %d times", got)
			}
		})
	}
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
	tr, err := src.tree(nil)
	must(t, err)
	r := &receiver{t: t, src: src, have: map[string]string{}, served: map[string][]string{}}
	l := loop{Source: src, tree: tr, timer: time.NewTimer(time.Hour)}
	look := func(want string) {
		t.Helper()
		tr.rescan()
		for len(tr.later) > 0 {
			l.changes(tr.continueRescan)
		}
		if l.ready {
			r.add(l.step)
			l.sent()
		}
		if r.objects() != want {
			t.Fatalf("have %s, want %s", r.objects(), want)
		}
	}
	l.change(tr.start())
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
