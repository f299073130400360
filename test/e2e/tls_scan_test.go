package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// finding is one of testssl.sh, as it writes them.
type finding struct{ ID, Severity, Finding string }

// What testssl.sh says of a listener with nothing configured but a certificate is
// nothing above "low".
func TestTLSScan(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	w := newWorld(t, map[string]string{
		"gateway.yaml": secured("", https("mode: SIMPLE, credentialNames: [ecdsa, rsa]", "*")),
		"routes.yaml":  everywhere(newOrigin(t, "o")),
		"secrets.yaml": ca.issue("scan.test").secret("ecdsa") + "---\n" + ca.sign(order{names: []string{"scan.test"}, rsa: true}).secret("rsa"),
	}).run().settled()
	// The host is any, because some of its checks send no server name.
	out := filepath.Join(t.TempDir(), "scan.json")
	// Protocols, server defaults, forward secrecy, ciphers, preferences and all
	// known weaknesses; what belongs to the certificate is the test's own.
	scan := exec.Command("testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1", "--openssl", "/usr/bin/openssl",
		"--add-ca", ca.file, "--jsonfile", out, "-p", "-s", "-f", "-P", "-S", "-U", fmt.Sprintf("scan.test:%d", w.port))
	said, err := scan.CombinedOutput()
	text, readErr := os.ReadFile(out)
	if readErr != nil {
		t.Fatalf("testssl: %v %v:\n%s", err, readErr, said)
	}
	var findings []finding
	if err := json.Unmarshal(text, &findings); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	ids := map[string]string{}
	for _, f := range findings {
		ids[f.ID] = f.Finding
		if strings.HasPrefix(f.ID, "cert_") {
			continue
		}
		if !slices.Contains([]string{"OK", "INFO", "LOW"}, f.Severity) {
			t.Errorf("%s: %s: %s", f.Severity, f.ID, f.Finding)
		}
	}
	for _, id := range []string{"SSLv3", "TLS1", "TLS1_2", "TLS1_3", "PFS", "heartbleed", "ROBOT", "BEAST", "LUCKY13", "SWEET32", "secure_renego", "secure_client_renego"} {
		if ids[id] == "" {
			t.Errorf("the scan says nothing of %s:\n%s", id, said)
		}
	}
}
