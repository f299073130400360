package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluicegw/sluice/test/envoytest"
)

// errNot is a condition that does not hold yet.
type errNot string

func (e errNot) Error() string { return "not " + string(e) }

func (w *world) hup() {
	w.t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		w.t.Fatal(err)
	}
}

// gone waits until a process has ended. A zombie has: nobody may be there to
// collect it.
func gone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return
		}
		if _, rest, _ := strings.Cut(string(text), ") "); strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d lives on", pid)
		}
		pause(5 * time.Millisecond)
	}
}

// SIGTERM: clients are asked to leave, nothing that they send on the way is
// lost, and nothing is left behind.
func TestTermLosesNothing(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	arrived := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		fmt.Fprint(w, "at last")
	}))
	t.Cleanup(slow.Close)
	files := withNeighbour(t, map[string]string{"gateway.yaml": edge("*")})
	files["slow.yaml"] = service("slow.internal", slow.Listener.Addr().(*net.TCPAddr).Port) + "---\n" +
		routes("slow", "slow.test", to("slow.internal"))
	w := newWorld(t, files).run("--drain-time", "10s")
	w.wait()
	pid := w.running()

	var clients, first sync.WaitGroup
	clients.Go(func() {
		if fault := post(newClient(), w.url("/"), "slow.test", "at last"); fault != "" {
			t.Errorf("a slow request was lost: %s", fault)
		}
	})
	<-arrived
	const kept = 8
	first.Add(kept)
	for range kept {
		clients.Go(func() {
			if n, err := w.untilClosed(neighbourHost, first.Done); err != nil {
				t.Errorf("a client lost its request number %d: %v", n+1, err)
			}
		})
	}
	first.Wait()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	w.eventually("draining", func() error {
		doc, err := w.askStatus()
		if err == nil && doc.Envoy.Phase != "Draining" {
			err = errNot("draining")
		}
		return err
	})
	close(release)
	clients.Wait()
	<-w.done
	if w.exit != nil {
		t.Errorf("sluice ends with %v", w.exit)
	}
	gone(t, pid)
	if left, err := filepath.Glob(filepath.Join(w.data, "*.sock")); err != nil || len(left) > 0 {
		t.Errorf("sockets are left behind: %v %v", left, err)
	}
}

// Whoever kills Sluice kills its Envoy.
func TestKillLeavesNoOrphan(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{"gateway.yaml": edge("*")})).run()
	for range 2 {
		pid := w.running()
		w.answers(neighbourHost, "/", http.StatusOK, "neighbour")
		w.stop(syscall.SIGKILL)
		gone(t, pid)
		w.run() // in what the killed one left behind
	}
	w.answers(neighbourHost, "/", http.StatusOK, "neighbour")
	pid := w.running()
	w.stop(syscall.SIGINT)
	gone(t, pid)
}

// With --keep-envoy a killed Sluice leaves an Envoy that serves on, and the
// next Sluice takes it over.
func TestKeepEnvoy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{"gateway.yaml": edge("*")})).run("--keep-envoy", "--drain-time", "1s")
	pid := w.running()
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	neighbour := w.neighbour()
	defer neighbour.unharmed()
	w.stop(syscall.SIGKILL)
	w.write("more.yaml", routes("more", "more.test", to("neighbour.internal")))
	w.answersNow(neighbourHost, "/", http.StatusOK, "neighbour")

	w.run("--keep-envoy", "--drain-time", "1s")
	doc := w.becomes("the next epoch", func(d statusDoc) bool { return d.Envoy.Epoch == 1 && d.Envoy.Phase == "Running" })
	next := doc.Envoy.PID
	t.Cleanup(func() { _ = syscall.Kill(next, syscall.SIGKILL) })
	gone(t, pid)
	w.wait()
	w.answersNow("more.test", "/", http.StatusOK, "neighbour more.test")
	neighbour.unharmed()
	w.stop(syscall.SIGTERM)
	gone(t, next)
}

// A hot restart, whatever asks for it, loses no request.
func TestHotRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{"gateway.yaml": edge("*")}))
	envoy := filepath.Join(t.TempDir(), "envoy")
	copyFile(t, envoytest.Binary(t), envoy)
	w.run("--envoy", envoy, "--drain-time", "1s")
	defer w.neighbour().unharmed()
	defer w.readiness().unharmed()
	pid := w.running()
	for i, c := range []struct {
		why string
		do  func()
	}{
		{"SIGHUP", w.hup},
		{"another binary in its place", func() {
			copyFile(t, envoytest.Binary(t), envoy+".new")
			if err := os.Rename(envoy+".new", envoy); err != nil {
				t.Fatal(err)
			}
		}},
		{"settings of the bootstrap", func() { w.write("settings.yaml", settings("maxHeapBytes: 1GiB")) }},
	} {
		c.do()
		doc := w.becomes(c.why, func(d statusDoc) bool { return d.Envoy.Epoch == i+1 && d.Envoy.Phase == "Running" })
		if doc.Envoy.PID == pid {
			t.Errorf("after %s the process is the same", c.why)
		}
		gone(t, pid)
		pid = doc.Envoy.PID
		w.write("edit.yaml", routes("edit", "edit.test", to("neighbour.internal")))
		w.wait()
		w.answersNow("edit.test", "/", http.StatusOK, "neighbour edit.test")
		w.remove("edit.yaml")
	}
}

// Settings that need no new process change the one that runs.
func TestSettingsLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{"gateway.yaml": edge("*")})).run()
	defer w.neighbour().unharmed()
	pid := w.running()
	refused := func(want int) {
		t.Helper()
		w.eventually(fmt.Sprintf("a header with an underscore gets %d", want), func() error {
			code, body, err := w.ask(neighbourHost, "x_user", "me")
			if err == nil && code != want {
				err = unexpected(code, body)
			}
			return err
		})
	}
	refused(http.StatusBadRequest)
	w.write("settings.yaml", settings("underscoreHeaders: true"))
	refused(http.StatusOK)
	w.wait()
	w.remove("settings.yaml")
	refused(http.StatusBadRequest)
	if doc := w.status(); doc.Envoy.PID != pid || doc.Envoy.Epoch != 0 || doc.Envoy.Restarts != 0 {
		t.Errorf("envoy is %+v, it was process %d of epoch 0", doc.Envoy, pid)
	}
}

// Without --drain-time the setting says how long Envoy drains, from the start
// and after a change.
func TestDrainTimeoutSetting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"), "settings.yaml": settings("drainTimeout: 3s"),
	}))
	w.run("--drain-time", "0s")
	drains := func(want string) {
		t.Helper()
		w.eventually("Envoy drains for "+want, func() error {
			code, body, err := fetch("http://"+w.admin+"/proxy/server_info", "")
			if err == nil && !strings.Contains(body, `"drain_time": "`+want+`"`) {
				err = unexpected(code, body)
			}
			return err
		})
	}
	drains("3s")
	w.write("settings.yaml", settings("drainTimeout: 2s"))
	drains("2s")
	w.running()
	w.stop(syscall.SIGTERM)
	if !strings.Contains(w.log.String(), "most=2s") {
		t.Errorf("Envoy does not drain for 2s")
	}
}

func settings(spec string) string {
	return "apiVersion: sluice.dev/v1\nkind: Settings\nmetadata: {name: settings}\nspec:\n  " + spec + "\n"
}
