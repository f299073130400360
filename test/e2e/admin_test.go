package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
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
	resp, err := http.Post("http://"+w.admin+"/config", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /config answers %s", resp.Status)
	}
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
