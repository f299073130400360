// Package pebbletest runs an ACME authority for tests: pebble of Let's Encrypt
// with the name server of pebble-challtestsrv, both real programs.
//
// What goes in is where challenges are looked for, what comes out is the address
// of a directory and what a test wants to know or to go wrong. Clients talk to a
// front of this package that passes everything on; it alone decides what they see
// of an authority that is down, answers errors, or obeys CAA records, which
// pebble does not look up.
package pebbletest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluicegw/sluice/test/envoytest"
)

const (
	// patience bounds the start of a program.
	patience = 30 * time.Second
	// pause is between two looks.
	pause = 10 * time.Millisecond
)

// Options of an authority; the zero value will do.
type Options struct {
	// HTTPPort and TLSPort are the ports of 127.0.0.1 at which challenges for
	// every host are looked for; 0 chooses free ones.
	HTTPPort, TLSPort int
	// Validity is that of certificates, 90 days if zero; Profiles are further
	// profiles by name, with their validity.
	Validity time.Duration
	Profiles map[string]time.Duration
	// NonceReject is how many good nonces of 100 are refused.
	NonceReject int
	// NameServer answers pebble instead of pebble-challtestsrv: host:port.
	NameServer string
	// AccountKeys are the MAC keys of external accounts, in base64url, by id; if
	// there are any, an account needs one.
	AccountKeys map[string]string
	// AlternateRoots is how many further chains are offered.
	AlternateRoots int
}

// Authority is a running ACME authority.
type Authority struct {
	Directory string // URL
	RootsFile string // PEM, of who signed the directory's own certificate
	// HTTPPort and TLSPort are where challenges are looked for.
	HTTPPort, TLSPort int

	options           Options
	dir               string
	management, names string // URLs
	client            *http.Client
	front             *front
	mu                sync.Mutex
	pebble            *exec.Cmd
}

// Binary returns the path of a program that `make tools` installs.
func Binary(t testing.TB, name string) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	path := filepath.Join(filepath.Dir(file), "..", "..", "..", ".tools", "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no %s to test with; run `make tools`: %v", name, err)
	}
	return path
}

// Start runs an authority until the test ends.
func Start(t testing.TB, o Options) *Authority {
	t.Helper()
	a := &Authority{options: o, HTTPPort: o.HTTPPort, TLSPort: o.TLSPort, dir: t.TempDir()}
	if a.HTTPPort == 0 {
		a.HTTPPort = envoytest.FreePort(t)
	}
	if a.TLSPort == 0 {
		a.TLSPort = envoytest.FreePort(t)
	}
	if a.options.NameServer == "" {
		a.startNames(t)
	}
	identity := newIdentity(t, a.dir)
	a.RootsFile = identity.rootsFile
	a.client = &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: identity.roots}, DisableKeepAlives: true,
		},
	}
	listen, management := envoytest.FreePort(t), envoytest.FreePort(t)
	a.management = fmt.Sprintf("https://127.0.0.1:%d", management)
	a.writeConfig(t, listen, management)
	a.run(t)
	t.Cleanup(func() { a.kill(t) })
	a.front = startFront(t, identity, frontOptions{port: listen, nameServer: a.options.NameServer})
	a.Directory = a.front.url + "/dir"
	return a
}

// startNames runs the name server and puts its address into the options.
func (a *Authority) startNames(t testing.TB) {
	t.Helper()
	port, management := envoytest.FreePort(t), envoytest.FreePort(t)
	a.options.NameServer = fmt.Sprintf("127.0.0.1:%d", port)
	a.names = fmt.Sprintf("http://127.0.0.1:%d", management)
	cmd := exec.Command(Binary(t, "pebble-challtestsrv"), //nolint:gosec // a program of our own choice
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", "",
		"-dnsserver", a.options.NameServer, "-management", fmt.Sprintf("127.0.0.1:%d", management))
	start(t, cmd)
	t.Cleanup(func() { stop(t, cmd) })
	await(t, management)
	await(t, port)
}

// profile is what pebble's configuration says of one.
type profile struct {
	Description    string `json:"description"`
	ValidityPeriod int    `json:"validityPeriod"` // seconds
}

func (a *Authority) writeConfig(t testing.TB, listen, management int) {
	t.Helper()
	validity := a.options.Validity
	if validity == 0 {
		validity = 90 * 24 * time.Hour
	}
	profiles := map[string]profile{"default": {"the default", int(validity / time.Second)}}
	for name, v := range a.options.Profiles {
		profiles[name] = profile{name, int(v / time.Second)}
	}
	config, err := json.MarshalIndent(map[string]any{"pebble": map[string]any{
		"listenAddress":           fmt.Sprintf("127.0.0.1:%d", listen),
		"managementListenAddress": fmt.Sprintf("127.0.0.1:%d", management),
		"certificate":             filepath.Join(a.dir, "front.pem"),
		"privateKey":              filepath.Join(a.dir, "front.key"),
		"httpPort":                a.HTTPPort, "tlsPort": a.TLSPort, "keyAlgorithm": "ecdsa",
		"retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles":   profiles,

		"externalAccountBindingRequired": len(a.options.AccountKeys) > 0,
		"externalAccountMACKeys":         a.options.AccountKeys,
	}}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.configFile(), config, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *Authority) configFile() string { return filepath.Join(a.dir, "pebble.json") }

// run starts pebble and waits until it answers.
func (a *Authority) run(t testing.TB) {
	t.Helper()
	cmd := exec.Command(Binary(t, "pebble"), "-config", a.configFile(), "-dnsserver", a.options.NameServer) //nolint:gosec // see above
	cmd.Env = append(os.Environ(),
		"PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0",
		"PEBBLE_WFE_NONCEREJECT="+strconv.Itoa(a.options.NonceReject),
		"PEBBLE_ALTERNATE_ROOTS="+strconv.Itoa(a.options.AlternateRoots))
	start(t, cmd)
	a.mu.Lock()
	a.pebble = cmd
	a.mu.Unlock()
	for end := time.Now().Add(patience); ; {
		response, err := a.client.Get(a.management + "/roots/0")
		if err == nil {
			_ = response.Body.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("pebble does not answer: %v", err)
		}
		<-time.After(pause)
	}
}

func (a *Authority) kill(t testing.TB) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pebble != nil {
		stop(t, a.pebble)
		a.pebble = nil
	}
}

// Forget restarts the authority: it knows no account, order or certificate any
// more, and signs with other keys.
func (a *Authority) Forget(t testing.TB) {
	t.Helper()
	a.kill(t)
	a.run(t)
}

// start runs a program that dies with the test, and whose words are shown if the
// test fails.
func start(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	words := new(envoytest.Output)
	cmd.Stdout, cmd.Stderr = words, words
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), words)
		}
	})
}

func stop(t testing.TB, cmd *exec.Cmd) {
	if err := cmd.Process.Kill(); err != nil {
		t.Logf("stop %s: %v", cmd.Path, err)
	}
	_ = cmd.Wait()
}

// await waits until a port takes connections.
func await(t testing.TB, port int) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("nobody listens on port %d: %v", port, err)
		}
		<-time.After(pause)
	}
}

// Roots returns the authorities above the certificates that are issued.
func (a *Authority) Roots(t testing.TB) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	for i := range a.options.AlternateRoots + 1 {
		pool.AddCert(a.Root(t, i))
	}
	return pool
}

// Root returns the root of chain i; 0 is the one that is offered first.
func (a *Authority) Root(t testing.TB, i int) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(a.call(t, http.MethodGet, a.management+"/roots/"+strconv.Itoa(i), nil))
	if block == nil {
		t.Fatal("the root of pebble is no PEM")
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// Revoked reports whether a certificate was revoked.
func (a *Authority) Revoked(t testing.TB, c *x509.Certificate) bool {
	t.Helper()
	var status struct{ Status string }
	answer := a.call(t, http.MethodGet, a.management+"/cert-status-by-serial/"+c.SerialNumber.Text(16), nil)
	if err := json.Unmarshal(answer, &status); err != nil {
		t.Fatal(err)
	}
	return status.Status == "Revoked"
}

// SetRenewalInfo has the authority suggest to renew a certificate between two
// instants.
func (a *Authority) SetRenewalInfo(t testing.TB, c *x509.Certificate, start, end time.Time) {
	t.Helper()
	window, err := json.Marshal(map[string]any{"suggestedWindow": map[string]time.Time{"start": start.UTC(), "end": end.UTC()}})
	if err != nil {
		t.Fatal(err)
	}
	a.call(t, http.MethodPost, a.management+"/set-renewal-info/", map[string]string{
		"Certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})),
		"ARIResponse": string(window),
	})
}

// SetCAA publishes a CAA record that allows only issuer to issue for host.
func (a *Authority) SetCAA(t testing.TB, host, issuer string) {
	t.Helper()
	a.call(t, http.MethodPost, a.names+"/add-caa", map[string]any{
		"host": host, "policies": []map[string]string{{"tag": "issue", "value": issuer}},
	})
}

// ClearCAA removes the CAA records of host.
func (a *Authority) ClearCAA(t testing.TB, host string) {
	t.Helper()
	a.call(t, http.MethodPost, a.names+"/clear-caa", map[string]string{"host": host})
}

// call sends a request with a JSON body, and fails the test unless it is 200.
func (a *Authority) call(t testing.TB, method, url string, body any) []byte {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(method, url, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	response, err := a.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %v: %s", method, url, response.Status, err, answer)
	}
	return answer
}
