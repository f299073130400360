// Package envoytest finds the real Envoy for tests. What goes in: the
// environment that `make test` prepares. What comes out: a path, or a failed
// test that says what to run.
package envoytest

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Binary returns the path of the Envoy to test with: $SLUICE_ENVOY, else the
// one `make tools` put into .tools/. It fails the test when there is none.
func Binary(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("SLUICE_ENVOY"); p != "" {
		return p
	}
	_, file, _, _ := runtime.Caller(0)
	p := filepath.Join(filepath.Dir(file), "..", "..", ".tools", "envoy")
	if _, err := os.Stat(p); err != nil {
		t.Fatalf("no Envoy to test with; run `make tools` or set SLUICE_ENVOY: %v", err)
	}
	return p
}
