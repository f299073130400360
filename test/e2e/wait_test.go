package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// waitSays runs `sluice wait` and expects it to say no, with all words.
func (w *world) waitSays(words []string, args ...string) {
	w.t.Helper()
	code, out := w.sluice(append([]string{"wait"}, args...)...)
	if code != 1 || !containsAll(out, words) {
		w.t.Errorf("sluice wait %v: exit %d, want 1 and the words %q:\n%s", args, code, words, out)
	}
}

func TestWaitSaysWhatIsNotLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shopFiles(t)).run()
	defer w.neighbour().unharmed()
	w.wait()

	w.write("broken.yaml", "kind: VirtualService\nspec: [}\n")
	w.waitSays([]string{"broken.yaml:2"})
	w.write("broken.yaml", routes("lost", "lost.test", to("lost.internal")))
	w.waitSays([]string{"VirtualService default/lost", "spec.http[0].route[0].destination", "lost.internal"}, "--timeout", "1s")
	// What is asked about is what is below the folder.
	if code, out := w.sluice("wait", w.dir+"/shop"); code != 0 {
		t.Errorf("sluice wait of the folder without a fault: exit %d: %s", code, out)
	}
	w.write("broken.yaml", service("lost.internal", backend(t, "found"))+"---\n"+routes("lost", "lost.test", to("lost.internal")))
	w.wait()
	w.answersNow("lost.test", "/", http.StatusOK, "found")

	if code, out := w.sluice("wait", w.dir+"/no/such"); code != 1 || !strings.Contains(out, "no/such") {
		t.Errorf("sluice wait of no folder: exit %d: %s", code, out)
	}
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
