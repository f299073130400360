package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// volume is a folder as Kubernetes mounts a ConfigMap: links into ..data, which
// is itself a link that is swapped.
type volume struct {
	w    *world
	turn int
	last string // the folder that ..data leads to
}

// put replaces all files at once, as the kubelet does.
func (v *volume) put(files map[string]string) {
	w := v.w
	w.t.Helper()
	v.turn++
	now := fmt.Sprintf("..2026_01_01_%02d", v.turn)
	check := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	for name, text := range files {
		w.write(filepath.Join(now, name), text)
	}
	check(os.Symlink(now, filepath.Join(w.dir, "..data_tmp")))
	check(os.Rename(filepath.Join(w.dir, "..data_tmp"), filepath.Join(w.dir, "..data")))
	for name := range files {
		path := filepath.Join(w.dir, name)
		if _, err := os.Lstat(path); err != nil {
			check(os.Symlink(filepath.Join("..data", name), path))
		}
	}
	entries, err := os.ReadDir(w.dir)
	check(err)
	for _, e := range entries {
		if _, here := files[e.Name()]; !here && e.Type() == os.ModeSymlink && e.Name() != "..data" {
			check(os.Remove(filepath.Join(w.dir, e.Name())))
		}
	}
	if v.last != "" {
		check(os.RemoveAll(filepath.Join(w.dir, v.last)))
	}
	v.last = now
}

func TestKubernetesVolume(t *testing.T) {
	t.Parallel()
	port, neighbour := backend(t, "a"), backend(t, "neighbour")
	w := newWorld(t, nil)
	v := &volume{w: w}
	files := func(host string) map[string]string {
		return map[string]string{
			"gateway.yaml": edge("*"),
			"service.yaml": service("a.internal", port),
			"route.yaml":   routes("moving", host, to("a.internal")),
			"z.yaml":       service("neighbour.internal", neighbour) + "---\n" + routes("neighbour", neighbourHost, to("neighbour.internal")),
		}
	}
	v.put(files("v0.test"))
	w.run()
	defer w.neighbour().unharmed()
	for i := 1; i <= 10; i++ {
		host := fmt.Sprintf("v%d.test", i)
		v.put(files(host))
		w.wait()
		w.answersNow(host, "/", http.StatusOK, "a "+host)
		w.answersNow(fmt.Sprintf("v%d.test", i-1), "/", http.StatusNotFound, "")
	}
	// A file that the next version does not have is gone, one more is read.
	next := files("v10.test")
	delete(next, "route.yaml")
	next["more.yaml"] = routes("more", "more.test", to("a.internal"))
	v.put(next)
	w.wait()
	w.answersNow("more.test", "/", http.StatusOK, "a more.test")
	w.answersNow("v10.test", "/", http.StatusNotFound, "")
	w.flawless()
	// Each object is there once: what ..data leads to is not read twice.
	if n := len(w.status().Objects); n != 5 {
		t.Errorf("%d objects, want 5", n)
	}
}
