package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// badFileFiles are a world in which one file holds a host that served once.
func badFileWorld(t *testing.T) *world {
	t.Helper()
	return newWorld(t, withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"),
		"service.yaml": service("a.internal", backend(t, "a")),
		"m/last.yaml":  routes("last", "last.test", to("a.internal")),
	}))
}

// While a file is bad, its last good version is served, its problem has file
// and line, and the neighbour does not notice.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	w := badFileWorld(t).run()
	defer w.neighbour().unharmed()
	good := routes("last", "last.test", to("a.internal"))
	bomb := good + "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	for _, c := range []struct {
		name, text, reason string
		words              []string
	}{
		{"prose", "Dear gateway,\nplease: [serve\n", "InvalidSyntax", nil},
		{"a half of the file", good[:len(good)-5], "InvalidSyntax", nil},
		{"a tab", "kind: VirtualService\nspec:\n\thosts: []\n", "InvalidSyntax", []string{":3:"}},
		{"bytes", "kind: \xff\xfe\x00\n", "InvalidSyntax", nil},
		{"an alias of itself", strings.Replace(good, "spec:", "spec: &x\n  y: *x", 1), "InvalidSyntax", nil},
		{"aliases that multiply", bomb, "InvalidSyntax", nil},
		{"one key twice", strings.Replace(good, "spec:", "spec: {}\nspec:", 1), "InvalidSyntax", nil},
		{"deep nesting", strings.Repeat("[", 200_000), "InvalidSyntax", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			w.write("m/last.yaml", c.text)
			w.problem(c.reason, append(c.words, filepath.Join(w.dir, "m/last.yaml")+":")...)
			w.answersNow("last.test", "/", http.StatusOK, "a last.test")
			w.write("m/last.yaml", good)
			w.flawless()
		})
	}
}

// What cannot be read is a problem of its own and holds up nothing else.
func TestUnreadableFiles(t *testing.T) {
	t.Parallel()
	w := badFileWorld(t).run()
	defer w.neighbour().unharmed()
	path := filepath.Join(w.dir, "m/x.yaml")
	for _, c := range []struct {
		name  string
		make  func() error
		words []string
	}{
		{"100 MB", func() error { return sparse(path, 100<<20) }, []string{"104857600", "split it"}},
		{"a link to nowhere", func() error { return os.Symlink("nowhere", path) }, []string{"link that leads nowhere"}},
		{"a link to itself", func() error { return os.Symlink("x.yaml", path) }, []string{"x.yaml"}},
		{"a folder", func() error { return os.Mkdir(path, 0o755) }, []string{"folder", "rename it"}},
		{"a pipe", func() error { return syscall.Mkfifo(path, 0o600) }, []string{"not a regular file"}},
		{"a device elsewhere", func() error { return os.Symlink("/dev/zero", path) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			if err := c.make(); err != nil {
				t.Fatal(err)
			}
			w.problem("UnreadableFile", append(c.words, path)...)
			code, out := w.sluice("validate", w.dir)
			if code != 1 || !containsAll(out, append(c.words, path)) {
				t.Errorf("sluice validate: exit %d: %s", code, out)
			}
			// Others are still followed.
			w.write("added.yaml", routes("added", "added.test", to("a.internal")))
			w.answers("added.test", "/", http.StatusOK, "a added.test")
			w.remove("added.yaml")
			w.answers("added.test", "/", http.StatusNotFound, "")
			w.remove("m/x.yaml")
			w.flawless()
		})
	}
}

// sparse makes a file that is large and takes no room.
func sparse(path string, size int64) error {
	if err := os.WriteFile(path, []byte("kind: Gateway\n"), 0o644); err != nil {
		return err
	}
	return os.Truncate(path, size)
}

// A good file that grows beyond reason keeps its last good version.
func TestFileGrowsTooLarge(t *testing.T) {
	t.Parallel()
	w := badFileWorld(t).run()
	defer w.neighbour().unharmed()
	w.answers("last.test", "/", http.StatusOK, "a")
	if err := os.Truncate(filepath.Join(w.dir, "m/last.yaml"), 100<<20); err != nil {
		t.Fatal(err)
	}
	w.problem("UnreadableFile", "m/last.yaml", "104857600")
	w.answersNow("last.test", "/", http.StatusOK, "a last.test")
	w.write("m/last.yaml", routes("last", "new.test", to("a.internal")))
	w.answers("new.test", "/", http.StatusOK, "a new.test")
	w.flawless()
}

// A folder that vanishes leaves all it held in service; when it is back it is
// followed again.
func TestFolderIsDeleted(t *testing.T) {
	t.Parallel()
	w := badFileWorld(t).run()
	defer w.neighbour().unharmed()
	w.answers("last.test", "/", http.StatusOK, "a")
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	w.problem("UnreadableFile", w.dir, "stays in use")
	w.waitSticks(w.dir)
	w.answersNow("last.test", "/", http.StatusOK, "a last.test")

	// It comes back with the host under another name.
	away := &world{t: t, dir: t.TempDir(), port: w.port}
	for name, text := range withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"),
		"service.yaml": service("a.internal", backend(t, "a")),
		"m/last.yaml":  routes("last", "back.test", to("a.internal")),
	}) {
		away.write(name, text)
	}
	if err := os.Rename(away.dir, w.dir); err != nil {
		t.Fatal(err)
	}
	w.answers("back.test", "/", http.StatusOK, "a back.test")
	w.answers("last.test", "/", http.StatusNotFound, "")
	w.flawless()
	w.write("m/last.yaml", routes("last", "again.test", to("a.internal")))
	w.answers("again.test", "/", http.StatusOK, "a again.test")
	w.wait()
}

// A subfolder that vanishes is a removal like that of its files.
func TestSubfolderIsDeleted(t *testing.T) {
	t.Parallel()
	w := badFileWorld(t).run()
	defer w.neighbour().unharmed()
	w.answers("last.test", "/", http.StatusOK, "a")
	if err := os.RemoveAll(filepath.Join(w.dir, "m")); err != nil {
		t.Fatal(err)
	}
	w.answers("last.test", "/", http.StatusNotFound, "")
	w.write("m/last.yaml", routes("last", "back.test", to("a.internal")))
	w.answers("back.test", "/", http.StatusOK, "a back.test")
	w.wait()
}

// A writer that empties a file and pauses between its documents takes no host
// away; what it leaves out in the end goes.
func TestFileWrittenSlowlyInPlace(t *testing.T) {
	t.Parallel()
	w := badFileWorld(t).run()
	defer w.neighbour().unharmed()
	first := routes("first", "first.test", to("a.internal"))
	w.write("m/two.yaml", first+"---\n"+routes("second", "second.test", to("a.internal")))
	w.wait()
	f, err := os.OpenFile(filepath.Join(w.dir, "m/two.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, part := range []string{"", first + "---\n", routes("third", "third.test", to("a.internal")) + "---\n"} {
		if _, err := f.WriteString(part); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			w.answers("third.test", "/", http.StatusOK, "a third.test") // the pauses were read
		}
		w.answersNow("first.test", "/", http.StatusOK, "a first.test")
		w.answersNow("second.test", "/", http.StatusOK, "a second.test")
	}
	w.wait()
	w.answersNow("third.test", "/", http.StatusOK, "a third.test")
	w.answersNow("second.test", "/", http.StatusNotFound, "")
}
