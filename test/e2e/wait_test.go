package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// waitSays runs `sluice wait` and expects it to say no, with all words, because
// time is over.
func (w *world) waitSays(words []string, args ...string) {
	w.t.Helper()
	w.waitEnds(1, words, args...)
}

// waitSticks expects `sluice wait` to say at once what has to be mended. Its
// time-out is longer than the test waits for it.
func (w *world) waitSticks(words ...string) {
	w.t.Helper()
	w.waitEnds(3, append(words, "mend"), "--timeout", "1h")
}

func (w *world) waitEnds(want int, words []string, args ...string) {
	w.t.Helper()
	code, out := w.sluice(append([]string{"wait"}, args...)...)
	if code != want || !containsAll(out, words) {
		w.t.Errorf("sluice wait %v: exit %d, want %d and the words %q:\n%s", args, code, want, words, out)
	}
}

func TestWaitSaysWhatIsNotLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shopFiles(t)).run()
	defer w.neighbour().unharmed()
	w.wait()

	w.write("broken.yaml", "kind: VirtualService\nspec: [}\n")
	w.waitSticks("broken.yaml:2")
	w.write("broken.yaml", routes("lost", "lost.test", to("lost.internal")))
	w.waitSticks("VirtualService default/lost", "spec.http[0].route[0].destination", "lost.internal")
	// What is asked about is what is below the folder.
	if code, out := w.sluice("wait", w.dir+"/shop"); code != 0 {
		t.Errorf("sluice wait of the folder without a fault: exit %d: %s", code, out)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(w.dir, link); err != nil {
		t.Fatal(err)
	}
	w.waitEnds(3, []string{"VirtualService default/lost"}, link)
	w.write("broken.yaml", service("lost.internal", backend(t, "found"))+"---\n"+routes("lost", "lost.test", to("lost.internal")))
	w.wait()
	w.answersNow("lost.test", "/", http.StatusOK, "found")

	if code, out := w.sluice("wait", w.dir+"/no/such"); code != 1 || !strings.Contains(out, "no/such") {
		t.Errorf("sluice wait of no folder: exit %d: %s", code, out)
	}
	w.waitEnds(1, []string{"is not below", w.dir}, t.TempDir())
}

// An Envoy that stands still is behind, and wait says so.
func TestWaitGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shopFiles(t)).run()
	w.wait()
	pid := w.status().Envoy.PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.write("added.yaml", routes("added", "added.test", to("shop.internal")))
	w.waitSays([]string{"VirtualService default/added", "live on 0 of 1"}, "--timeout", "1s")
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	w.wait()
	w.answersNow("added.test", "/", http.StatusOK, "added.test /")
}

func TestClientsOfNoSluice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, command := range []string{"wait", "status"} {
		code, out := w.sluice(command)
		if code != 1 || !containsAll(out, []string{w.admin, "sluice run", "--admin"}) {
			t.Errorf("sluice %s without a running sluice: exit %d: %s", command, code, out)
		}
	}
}
