package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicegw/sluice/config"
)

// A link to what is no folder of files, or to the whole machine, holds up
// nothing.
func TestLinkToTheMachine(t *testing.T) {
	for _, tc := range []struct{ to, says string }{
		{"/proc", "the kernel's"},
		{"/sys", "the kernel's"},
		{"/", "more than 300 names"},
	} {
		t.Run(tc.to, func(t *testing.T) {
			dir := t.TempDir()
			a := filepath.Join(dir, "a.yaml")
			write(t, a, object("a", "1"))
			src := New(Options{Dirs: []string{dir}, Rescan: 20 * time.Millisecond, Settle: hold})
			src.names = 300
			r := receive(t, src)
			must(t, os.Symlink(tc.to, filepath.Join(dir, "x")))
			for !strings.Contains(fmt.Sprint(r.problems), tc.says) {
				r.take()
			}
			for _, v := range []string{"2", "3", "4"} {
				replace(t, a, object("a", v))
				for r.have["a"] != v {
					r.take()
				}
			}
			must(t, os.Remove(filepath.Join(dir, "x")))
			for r.objects() != "a=4" || len(r.problems) > 0 {
				r.take()
			}
		})
	}
}

// Two links in each of many folders are two to the many paths to the last.
func TestDiamondOfLinks(t *testing.T) {
	dir := t.TempDir()
	for i := range 23 {
		mkdir(t, dir, fmt.Sprintf("d%02d", i))
		if i > 0 {
			for _, side := range []string{"l", "r"} {
				must(t, os.Symlink(filepath.Join("..", fmt.Sprintf("d%02d", i)), filepath.Join(dir, fmt.Sprintf("d%02d", i-1), side)))
			}
		}
	}
	write(t, filepath.Join(dir, "d22", "a.yaml"), object("a", "1"))
	r := run(t, 0, dir)
	r.until("a=1")
	replace(t, filepath.Join(dir, "d22", "a.yaml"), object("a", "2"))
	r.until("a=2")
	r.looked()
	r.until("a=2")
}

// A folder with two names is read under the first; when that goes, the other
// takes over and nothing is gone in between.
func TestFolderWithTwoNames(t *testing.T) {
	dir, away := t.TempDir(), t.TempDir()
	write(t, filepath.Join(away, "a.yaml"), object("a", "1"))
	must(t, os.Symlink(away, filepath.Join(dir, "one")))
	must(t, os.Symlink(away, filepath.Join(dir, "two")))
	r := run(t, 0, dir)
	r.until("a=1")
	if p := r.last.Upserts[0].Order.Path; p != "0000:one/a.yaml" {
		t.Errorf("read as %s", p)
	}
	must(t, os.Remove(filepath.Join(dir, "one")))
	for r.last.Upserts == nil || r.last.Upserts[0].Order.Path != "0000:two/a.yaml" {
		r.take()
	}
	replace(t, filepath.Join(away, "a.yaml"), object("a", "2"))
	r.until("a=2")
	// A folder that moves, to a name that sorts before its old one.
	real := mkdir(t, dir, "z")
	write(t, filepath.Join(real, "b.yaml"), object("b", "1"))
	r.until("a=2 b=1")
	must(t, os.Rename(real, filepath.Join(dir, "b")))
	replace(t, filepath.Join(dir, "b", "b.yaml"), object("b", "2"))
	r.until("a=2 b=2")
	r.kept()
}

// What does not fit is left out; what was there stays, and is followed.
func TestMoreNamesThanAreFollowed(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), object("a", "1"))
	src := New(Options{Dirs: []string{dir}, Rescan: 20 * time.Millisecond, Settle: hold})
	src.names = 3
	r := receive(t, src)
	for _, name := range []string{"b", "c", "d"} {
		write(t, filepath.Join(dir, name+".yaml"), object(name, "1"))
	}
	r.until("a=1 b=1 c=1", filepath.Base(dir)+":0 UnreadableFile")
	replace(t, filepath.Join(dir, "a.yaml"), object("a", "2"))
	r.until("a=2 b=1 c=1", filepath.Base(dir)+":0 UnreadableFile")
	must(t, os.Remove(filepath.Join(dir, "b.yaml")))
	r.until("a=2 c=1 d=1")
}

func TestFoldersTooDeep(t *testing.T) {
	dir := t.TempDir()
	edge := mkdir(t, dir, strings.Repeat("d/", maxDepth))
	write(t, filepath.Join(edge, "a.yaml"), object("a", "1"))
	write(t, filepath.Join(mkdir(t, edge, "e"), "b.yaml"), object("b", "1"))
	r := run(t, 0, dir)
	r.until("a=1", "e:0 UnreadableFile")
}

func TestLinksThatLeadOut(t *testing.T) {
	dir, away := t.TempDir(), t.TempDir()
	inside := mkdir(t, dir, "inside")
	write(t, filepath.Join(inside, "a.yaml"), object("a", "1"))
	write(t, filepath.Join(away, "b.yaml"), object("b", "1"))
	must(t, os.Symlink("inside/a.yaml", filepath.Join(dir, "file.yaml")))
	must(t, os.Symlink(away, filepath.Join(dir, "out")))
	must(t, os.Symlink(filepath.Join(away, "b.yaml"), filepath.Join(dir, "out.yaml")))
	must(t, os.Symlink("/bin/sh", filepath.Join(dir, "shell")))
	outs := []string{"out:0 UnreadableFile", "out.yaml:0 UnreadableFile"}

	r := receive(t, New(Options{Dirs: []string{dir}, Rescan: time.Hour, Settle: hold, StayInside: true}))
	r.until("a=1", append([]string{"a.yaml:1 DuplicateObject"}, outs...)...)
	if m := r.problems[1].Message; !strings.Contains(m, away) || !strings.Contains(m, "--stay-inside=false") {
		t.Errorf("%q does not say where it leads and what to do", m)
	}
	must(t, os.Remove(filepath.Join(dir, "out")))
	must(t, os.Symlink("inside", filepath.Join(dir, "out"))) // known by another name
	must(t, os.Remove(filepath.Join(dir, "out.yaml")))
	r.until("a=1", "a.yaml:1 DuplicateObject")
	r.kept()

	must(t, os.Remove(filepath.Join(dir, "file.yaml")))
	must(t, os.Symlink(away, filepath.Join(dir, "more")))
	r = run(t, 0, dir)
	r.until("a=1 b=1")
}

// The argument itself may be a link, and so may what a volume of Kubernetes
// holds.
func TestVolumeStaysInside(t *testing.T) {
	dir := t.TempDir()
	conf := mkdir(t, dir, "real")
	volume(t, conf, "1", map[string]string{"a.yaml": object("a", "1")})
	mkdir(t, conf, "..v1", "sub")
	write(t, filepath.Join(conf, "..v1", "sub", "b.yaml"), object("b", "1"))
	must(t, os.Symlink("..data/sub", filepath.Join(conf, "sub")))
	must(t, os.Symlink("real", filepath.Join(dir, "conf")))
	r := receive(t, New(Options{Dirs: []string{filepath.Join(dir, "conf")}, Rescan: time.Hour, Settle: hold, StayInside: true}))
	r.until("a=1 b=1")
	for i := 2; i < 6; i++ {
		v := fmt.Sprint(i)
		now := mkdir(t, conf, "..v"+v)
		write(t, filepath.Join(now, "a.yaml"), object("a", v))
		write(t, filepath.Join(mkdir(t, now, "sub"), "b.yaml"), object("b", v))
		must(t, os.Symlink("..v"+v, filepath.Join(conf, "..data_tmp")))
		must(t, os.Rename(filepath.Join(conf, "..data_tmp"), filepath.Join(conf, "..data")))
		must(t, os.RemoveAll(filepath.Join(conf, fmt.Sprint("..v", i-1))))
		r.until("a=" + v + " b=" + v)
	}
	r.kept()
}

func TestWalkEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 * walkSlice {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), object("a", "1"))
	}
	src := New(Options{Dirs: []string{dir}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	steps := make(chan config.Step, 1)
	must(t, src.Run(ctx, steps))
	if len(steps) > 0 {
		t.Error("a part of the folder was sent as all of it")
	}
	if n := src.reader.opened.Load(); n > walkSlice+1 {
		t.Errorf("%d files were read after the end", n)
	}
}
