package e2e

import (
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// unready waits until /readyz says 503, and why.
func (w *world) unready(why ...string) {
	w.t.Helper()
	w.eventually("not ready: "+strings.Join(why, ", "), func() error {
		code, body, err := fetch("http://"+w.admin+"/readyz", "")
		if err == nil && (code != http.StatusServiceUnavailable || !containsAll(body, why)) {
			err = unexpected(code, body)
		}
		return err
	})
}

// Whoever would send traffic here learns that it would be lost.
func TestNotReadyWhileEnvoyIsFrozen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{"gateway.yaml": edge("*")})).run()
	pid := w.running()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	w.unready("envoy", itoa(pid), "stopped")
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	w.ready()
	w.answersNow(neighbourHost, "/", http.StatusOK, "neighbour")
}

func TestNotReadyWithoutAPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"service.yaml": service("a.internal", 1)})
	w.start()
	w.unready("no port is open", "Gateway")
	w.write("gateway.yaml", edge("*"))
	w.ready()
	w.remove("gateway.yaml")
	w.unready("no port is open")
}

func TestNotReadyWhileConnectionsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withNeighbour(t, map[string]string{"gateway.yaml": edge("*"), "settings.yaml": settings("maxConnections: 2")}))
	w.run()
	w.becomes("the settings rule", func(d statusDoc) bool { return d.Envoy.Epoch == 1 && d.Envoy.Phase == "Running" })
	var open []net.Conn
	for range 2 {
		c, err := dialing{port: w.port}.open()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	w.unready("maxConnections", "2")
	for _, c := range open {
		c.Close()
	}
	w.ready()
	w.answers(neighbourHost, "/", http.StatusOK, "neighbour")
}
