package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicegw/sluice/test/envoytest"
)

// TestEnvoyAcceptsWhatWeAccept shows a real Envoy every command, expression and
// substitution that the checks let pass.
func TestEnvoyAcceptsWhatWeAccept(t *testing.T) {
	var headers []any
	withArgument := []string{"REQ", "RESP", "TRAILER", "QUERY_PARAM", "DYNAMIC_METADATA", "CLUSTER_METADATA", "UPSTREAM_METADATA"}
	for _, command := range append(strings.Fields(plainCommands), withArgument...) {
		for _, form := range []string{"%%%s%%", "%%%s(x)%%", "%%%s(x):5%%", "a %%%s%% 100%%%%"} {
			if value := fmt.Sprintf(form, command); HeaderValue(value) == nil {
				headers = append(headers, map[string]any{"header": map[string]any{"key": fmt.Sprintf("x-%d", len(headers)), "value": value}})
			}
		}
	}
	for _, value := range []string{"", "ünï\t", "%REQ(:path?x-y)%", "%START_TIME(%Y/%m/%d)%", "%START_TIME_LOCAL(%s)%", "%DYNAMIC_METADATA(a:b)%"} {
		if wrong := HeaderValue(value); wrong != nil {
			t.Errorf("%q: %s", value, wrong.Message)
		}
		headers = append(headers, map[string]any{"header": map[string]any{"key": "y", "value": value}})
	}
	if len(headers) < 100 {
		t.Fatalf("only %d headers to try", len(headers))
	}
	routes := []any{route(map[string]any{"prefix": "/"}, map[string]any{"response_headers_to_add": headers})}
	for _, expression := range []string{
		`(?i)/a\d+(/[^/]+){0,5}`, `\pL\PN`, strings.Repeat("a", 1024), "[a-z]{1000}", ".{1000}", `[^\x00-\x{fe}]\xff`,
		`\Qa.b\E`, `(?P<n>x)(?:y)`, `[[:alpha:]]`, `a{0,1000}b{0,1000}`, `\pL{3}`, `(?s).*`, `(?:(?:a|b)*)*`, `\bfoo\z`,
	} {
		if wrong := Regex(expression); wrong != nil {
			t.Errorf("%q: %s", expression, wrong.Message)
		}
		routes = append(routes, route(map[string]any{"safe_regex": map[string]any{"regex": expression}}, nil))
	}
	validate(t, routes)
}

func route(match, more map[string]any) map[string]any {
	out := map[string]any{"match": match, "direct_response": map[string]any{"status": 200}}
	for key, value := range more {
		out[key] = value
	}
	return out
}

func validate(t *testing.T, routes []any) {
	t.Helper()
	manager := map[string]any{
		"@type":       "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": "x",
		"http_filters": []any{map[string]any{
			"name":         "router",
			"typed_config": map[string]any{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
		}},
		"route_config": map[string]any{"virtual_hosts": []any{map[string]any{"name": "v", "domains": []any{"*"}, "routes": routes}}},
	}
	if out, err := validated(t, map[string]any{"filters": []any{map[string]any{"name": "hcm", "typed_config": manager}}}); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// validated returns what Envoy says of a listener with one filter chain.
func validated(t *testing.T, chain map[string]any) (string, error) {
	t.Helper()
	bootstrap, err := json.Marshal(map[string]any{
		"layered_runtime": map[string]any{"layers": []any{map[string]any{
			"name": "static", "static_layer": map[string]any{"re2.max_program_size.error_level": 32768},
		}}},
		"static_resources": map[string]any{"listeners": []any{map[string]any{
			"name":          "l",
			"address":       map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": 0}},
			"filter_chains": []any{chain},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(file, bootstrap, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), envoytest.Binary(t), "--mode", "validate", "-l", "error", "-c", file).CombinedOutput()
	return string(out), err
}

// TestEnvoyTakesTheCipherSuites shows a real Envoy all suites at once; it would
// refuse the whole for one that it does not know.
func TestEnvoyTakesTheCipherSuites(t *testing.T) {
	known := append(cipherSuites(), olderCipherSuites()...)
	certificate := selfSigned(t)
	say := func(suites []string) (string, error) {
		return validated(t, map[string]any{"transport_socket": map[string]any{"name": "tls", "typed_config": map[string]any{
			"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
			"common_tls_context": map[string]any{
				"tls_params":       map[string]any{"cipher_suites": suites},
				"tls_certificates": []any{certificate},
			},
		}}})
	}
	if out, err := say(known); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := say(append(known, "AES128-SHA256")); err == nil || !strings.Contains(out, "AES128-SHA256") {
		t.Errorf("a suite that does not exist is taken: %v\n%s", err, out)
	}
}

// selfSigned returns a certificate with its key as Envoy reads them.
func selfSigned(t *testing.T) map[string]any {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	inline := func(kind string, der []byte) map[string]any {
		return map[string]any{"inline_bytes": pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})}
	}
	return map[string]any{"certificate_chain": inline("CERTIFICATE", certificate), "private_key": inline("PRIVATE KEY", private)}
}
