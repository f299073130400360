package file

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// again starts a source that keeps what it reads in a folder beside dir.
func again(t *testing.T, dir string, change ...func(*Options)) *receiver {
	t.Helper()
	o := Options{Dirs: []string{dir}, Rescan: time.Hour, Settle: hold, Keep: dir + ".kept"}
	for _, c := range change {
		c(&o)
	}
	return receive(t, New(o))
}

func often(o *Options) { o.Rescan = 20 * time.Millisecond }

// filled is a folder with two files, read and served once.
func filled(t *testing.T) (dir string, seen map[string]uint64) {
	t.Helper()
	dir = mkdir(t, t.TempDir(), "conf")
	write(t, filepath.Join(dir, "m.yaml"), object("m", "1")+"---\n"+object("n", "1"))
	write(t, filepath.Join(mkdir(t, dir, "sub"), "o.yaml"), object("o", "1"))
	r := again(t, dir)
	r.until("m=1 n=1 o=1")
	replace(t, filepath.Join(dir, "a.yaml"), object("a", "1"))
	r.until("a=1 m=1 n=1 o=1")
	r.stop()
	return dir, r.seen
}

func (r *receiver) obstacle(want string) {
	r.t.Helper()
	if got := r.src.Obstacle(); (got == "") != (want == "") || !strings.Contains(got, want) {
		r.t.Errorf("obstacle %q, want %q", got, want)
	}
}

func TestStartWithoutTheFolder(t *testing.T) {
	dir, seen := filled(t)
	must(t, os.Rename(dir, dir+".away"))
	for range 2 {
		r := again(t, dir)
		r.until("a=1 m=1 n=1 o=1", "conf:0 UnreadableFile")
		r.obstacle(dir)
		r.stop()
	}
	r := again(t, dir)
	must(t, os.Rename(dir+".away", dir))
	r.until("a=1 m=1 n=1 o=1")
	r.looked()
	r.obstacle("")
	r.kept()
	if !maps.Equal(r.seen, seen) {
		t.Errorf("the numbers are %v and were %v", r.seen, seen)
	}
	must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	r.until("m=1 n=1 o=1")
	r.stop()
	r = again(t, dir+"/.") // what was removed is not kept, another folder is another
	r.until("m=1 n=1 o=1")
}

// A folder that is empty after a restart counts as empty only later, or at once
// if that is said.
func TestStartWithAnEmptyFolder(t *testing.T) {
	dir, _ := filled(t)
	must(t, os.Rename(dir, dir+".away"))
	mkdir(t, dir)
	r := again(t, dir)
	r.until("a=1 m=1 n=1 o=1", "conf:0 UnreadableFile")
	r.obstacle(dir)
	if m := r.problems[0].Message; !strings.Contains(m, "--allow-empty") {
		t.Errorf("%q does not say what to do", m)
	}
	must(t, os.Rename(filepath.Join(dir+".away", "m.yaml"), filepath.Join(dir, "m.yaml"))) // mounted after all
	r.until("m=1 n=1")
	r.obstacle("")
	r.stop()

	must(t, os.Remove(filepath.Join(dir, "m.yaml")))
	r = again(t, dir, often)
	r.until("")
	r.looked()
	r.obstacle("")
	r.stop()

	dir, _ = filled(t)
	must(t, os.RemoveAll(dir))
	mkdir(t, dir)
	r = again(t, dir, func(o *Options) { o.AllowEmpty = true })
	r.until("")
	r.obstacle("")
}

// What cannot be read of a folder is what it held before the restart.
func TestStartWithAFolderThatIsPartlyBroken(t *testing.T) {
	dir, _ := filled(t)
	replace(t, filepath.Join(dir, "m.yaml"), object("m", "2")+"\tbroken")
	replace(t, filepath.Join(dir, "a.yaml"), object("a", "2"))
	must(t, os.Rename(filepath.Join(dir, "sub"), dir+".sub"))
	must(t, os.Symlink(dir+".sub", filepath.Join(dir, "sub")))
	r := again(t, dir, func(o *Options) { o.StayInside = true })
	r.until("a=2 m=1 n=1 o=1", "m.yaml:6 InvalidSyntax", "sub:0 UnreadableFile")
	r.obstacle("")
	r.looked()
	r.until("a=2 m=1 n=1 o=1", "m.yaml:6 InvalidSyntax", "sub:0 UnreadableFile")
	r.kept()
	// It can be read, and does not hold what it held.
	must(t, os.Remove(filepath.Join(dir, "sub")))
	write(t, filepath.Join(mkdir(t, dir, "sub"), "p.yaml"), object("p", "1"))
	replace(t, filepath.Join(dir, "m.yaml"), object("m", "3"))
	r.until("a=2 m=3 p=1")
}

// What was edited while nobody looked is as it is now, and a newcomer is one.
func TestStartAfterEdits(t *testing.T) {
	dir, seen := filled(t)
	long := time.Now().Add(-time.Minute)
	m := filepath.Join(dir, "m.yaml")
	write(t, m, object("m", "2"))
	must(t, os.Chtimes(m, long, long))
	must(t, os.Rename(filepath.Join(dir, "a.yaml"), filepath.Join(dir, "z.yaml")))
	write(t, filepath.Join(dir, "0.yaml"), object("m", "3")+"---\n"+object("new", "1"))
	r := again(t, dir)
	if got := r.objects(); got != "a=1 m=2 new=1 o=1" {
		t.Errorf("the first step has %s", got)
	}
	r.until("a=1 m=2 new=1 o=1", "0.yaml:1 DuplicateObject")
	for name, was := range seen {
		if now, there := r.seen[name]; there && now != was {
			t.Errorf("%s has number %d and had %d", name, now, was)
		}
	}
	if r.seen["new"] <= seen["a"] {
		t.Errorf("a newcomer has number %d, not more than %d", r.seen["new"], seen["a"])
	}
}

// Nothing that lies where objects are kept stops a start.
func TestKeptObjectsAreDamaged(t *testing.T) {
	dir, _ := filled(t)
	must(t, os.RemoveAll(dir))
	list, err := filepath.Glob(dir + ".kept/*")
	must(t, err)
	if len(list) != 3 {
		t.Fatalf("kept are %v", list)
	}
	for _, path := range list {
		write(t, path, "sluice objects 1 0123\n{")
	}
	r := again(t, dir)
	r.until("", "conf:0 UnreadableFile", "conf.kept:0 UnreadableFile", "conf.kept:0 UnreadableFile", "conf.kept:0 UnreadableFile")
	write(t, filepath.Join(mkdir(t, dir), "a.yaml"), object("a", "1"))
	r.until("a=1")
	r.stop()
	must(t, os.RemoveAll(dir+".kept"))
	write(t, dir+".kept", "no folder")
	r = again(t, dir)
	r.until("a=1", "conf.kept:0 UnreadableFile")
}
