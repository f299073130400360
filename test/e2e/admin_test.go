package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluicegw/sluice/test/envoytest"
)

func TestAdminAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shopFiles(t)).run()
	defer w.neighbour().unharmed()
	w.wait()
	for _, c := range []struct {
		path  string
		code  int
		words []string
	}{
		{"/livez", 200, []string{"ok"}},
		{"/readyz", 200, []string{"ok"}},
		{"/metrics", 200, []string{"# TYPE", "sluice_", "go_goroutines", "process_resident_memory_bytes"}},
		{"/status", 200, []string{`"liveGeneration"`, `"shop"`}},
		{"/config", 200, []string{"outbound|80|v1|shop.internal", `"version"`}},
		{"/config?type=route", 200, []string{"shop.test"}},
		{"/config?type=banana", 400, []string{"banana"}},
		{"/proxy/stats/prometheus", 200, []string{"envoy_server_live", "envoy_http_downstream_rq"}},
		{"/proxy/clusters", 200, []string{"outbound|80|v1|shop.internal"}},
		{"/proxy/listeners", 200, []string{"127.0.0.1"}},
		{"/proxy/config_dump", 404, nil},
		{"/proxy/quitquitquit", 404, nil},
		{"/debug/pprof/", 404, nil},
		{"/nothing", 404, nil},
	} {
		code, body, err := fetch("http://"+w.admin+c.path, "")
		if err != nil || code != c.code || !containsAll(body, c.words) {
			t.Errorf("%s answers %d %v, want %d and %q:\n%.2000s", c.path, code, err, c.code, c.words, body)
		}
	}
	for host, want := range map[string]int{"evil.test": 403, "evil.test:9900": 403, "localhost": 200, "[::1]:1": 200} {
		if code, body, err := fetch("http://"+w.admin+"/status", host); err != nil || code != want {
			t.Errorf("as %s it answers %d %v, want %d: %.200s", host, code, err, want, body)
		}
	}
}

// Who only reaches the address may look and not act; who owns the socket, or
// knows the token, may.
func TestAdminActions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shopFiles(t)).run()
	token, err := os.ReadFile(filepath.Join(w.data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"admin.token": 0o600, "admin.sock": 0o600 | os.ModeSocket} {
		if st, err := os.Stat(filepath.Join(w.data, name)); err != nil || st.Mode() != mode {
			t.Errorf("%s: %v %v, want %v", name, st, err, mode)
		}
	}
	for _, c := range []struct {
		token string
		code  int
		word  string
	}{
		{"", http.StatusUnauthorized, w.data},
		{"Bearer x", http.StatusUnauthorized, w.data},
		{"Bearer " + strings.TrimSpace(string(token)), http.StatusConflict, "shop.test"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.admin+"/certificates/shop.test/renew", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", c.token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.code || !strings.Contains(string(body), c.word) {
			t.Errorf("with token %q: %s %s %v, want %d and %q", c.token, resp.Status, body, err, c.code, c.word)
		}
	}
	const refused = "401"
	renew := []string{"certificates", "renew", "shop.test"}
	said := func(where string, allowed bool, args ...string) {
		t.Helper()
		if code, out := w.sluice(args...); code != 1 || strings.Contains(out, refused) == allowed || !strings.Contains(out, "shop.test") && allowed {
			t.Errorf("%s: exit %d: %s", where, code, out)
		}
	}
	said("the socket is found", true, renew...)
	said("the socket is named", true, append(renew[:2:2], "--admin", "unix:"+w.data+"/admin.sock", "shop.test")...)
	other := newWorld(t, shopFiles(t)).run()
	data := w.data
	w.data = other.data
	said("the socket of another gateway is not taken", false, renew...)
	w.data = data
	if code, out := w.sluice("status", "--admin", "unix:"+w.data+"/none.sock"); code != 1 || !strings.Contains(out, "no sluice answers") {
		t.Errorf("a socket that is not there: exit %d: %s", code, out)
	}
	if _, out := w.sluice("status", "--admin", "unix:/"+strings.Repeat("x", 120)); !strings.Contains(out, "too long") {
		t.Errorf("a path that is too long: %s", out)
	}
	// A process that is killed leaves its socket.
	w.stop(syscall.SIGKILL)
	if code, out := w.sluice("status"); code != 1 || !strings.Contains(out, "no sluice answers") {
		t.Errorf("after the kill: exit %d: %s", code, out)
	}
	w.run()
	said("after a kill", true, renew...)
}

// Secrets are kept but never shown.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	files := shopFiles(t)
	files["secret.yaml"] = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: hush-hush}\n" +
		"---\napiVersion: v1\nkind: Secret\nmetadata: {name: t}\ndata: {key: aHVzaC1odXNo}\n"
	w := newWorld(t, files).run("--log-level", "debug")
	w.wait()
	for _, path := range []string{"/status", "/config", "/metrics"} {
		if _, body, err := fetch("http://"+w.admin+path, ""); err != nil || strings.Contains(body, "hush-hush") || strings.Contains(body, "aHVzaC1odXNo") {
			t.Errorf("%s shows the secret (%v)", path, err)
		}
	}
	if strings.Contains(w.log.String(), "hush-hush") {
		t.Error("the log shows the secret")
	}
}

func TestProfiling(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"gateway.yaml": edge("*")}).run("--pprof", "--log-format", "json")
	code, body, err := fetch("http://"+w.admin+"/debug/pprof/goroutine?debug=1", "")
	if err != nil || code != http.StatusOK || !strings.Contains(body, "goroutine profile") {
		t.Errorf("/debug/pprof/goroutine answers %d %v", code, err)
	}
	for line := range strings.Lines(w.log.String()) {
		if !strings.HasPrefix(line, "{") {
			t.Errorf("--log-format json writes %q", line)
		}
	}
}

// While Envoy does not answer, Sluice is alive but not ready, and says why.
func TestNotReadyBeforeEnvoyIs(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	script := `case "$*" in *-version*) ;; *) while [ ! -e '` + gate + `' ]; do sleep 0.05; done;; esac
exec '` + envoytest.Binary(t) + `' "$@"`
	w := newWorld(t, shopFiles(t))
	w.start("--envoy", shell(t, script))
	w.eventually("alive", func() error {
		code, body, err := fetch("http://"+w.admin+"/livez", "")
		if err == nil && code != http.StatusOK {
			err = unexpected(code, body)
		}
		return err
	})
	code, body, err := fetch("http://"+w.admin+"/readyz", "")
	if err != nil || code != http.StatusServiceUnavailable || !strings.Contains(body, "not live") {
		t.Errorf("before Envoy is there /readyz answers %d %q %v", code, body, err)
	}
	w.waitSays([]string{"live on 0 of 1"}, "--timeout", "1s")
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w.ready()
	w.wait()
	w.answersNow("shop.test", "/hours", http.StatusTeapot, "always open")
}

// shell writes an executable script.
func shell(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
