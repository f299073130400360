package file

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

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
