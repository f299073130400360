package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A start while the folder is not there, or is not mounted yet, serves what it
// held, says that it is not ready, and follows the folder once it is back.
func TestStartWithoutTheFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"),
		"service.yaml": service("a.internal", backend(t, "a")),
		"route.yaml":   routes("a", "a.test", to("a.internal")),
	})).run()
	w.answers("a.test", "/", http.StatusOK, "a a.test")
	away := w.dir + ".away"
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for _, mount := range []bool{false, true} {
		w.stop(syscall.SIGTERM)
		move(w.dir, away)
		if mount {
			if err := os.Mkdir(w.dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		w.start()
		w.answers("a.test", "/", http.StatusOK, "a a.test")
		w.unready("not read since the start", w.dir)
		w.problem("UnreadableFile", w.dir)
		if mount {
			if err := os.Remove(w.dir); err != nil {
				t.Fatal(err)
			}
		}
		move(away, w.dir)
		w.ready()
		w.flawless()
		w.answersNow("a.test", "/", http.StatusOK, "a a.test")
	}
	// What was removed is not kept.
	w.remove("route.yaml")
	w.answers("a.test", "/", http.StatusNotFound, "")
	w.stop(syscall.SIGTERM)
	move(w.dir, away)
	w.start()
	w.answers(neighbourHost, "/", http.StatusOK, "neighbour")
	w.answersNow("a.test", "/", http.StatusNotFound, "")
	w.stop(syscall.SIGTERM)
	// A folder that is empty on purpose.
	if err := os.Mkdir(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.start("--allow-empty")
	w.unready("no port is open")
	kept, err := filepath.Glob(filepath.Join(w.data, "objects", "*"))
	if err != nil || len(kept) > 0 {
		t.Errorf("kept are %v, %v", kept, err)
	}
}
