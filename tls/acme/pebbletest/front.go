package pebbletest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// caaIdentity is what a CAA record has to say for pebble to issue.
const caaIdentity = "pebble.letsencrypt.org"

// Intercept sees a request of a client before the authority does. If it returns
// true it has answered.
type Intercept func(w http.ResponseWriter, r *http.Request) bool

// front is what clients of the authority talk to.
type front struct {
	url        string
	nameServer string
	proxy      *httputil.ReverseProxy
	mu         sync.Mutex
	down       bool
	intercept  Intercept
	orders     map[string]int // new orders by host
}

type frontOptions struct {
	port       int // of pebble
	nameServer string
}

// startFront serves until the test ends.
func startFront(t testing.TB, id identity, o frontOptions) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := &url.URL{Scheme: "https", Host: fmt.Sprintf("127.0.0.1:%d", o.port)}
	f := &front{url: "https://" + listener.Addr().String(), nameServer: o.nameServer, orders: map[string]int{}}
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // pebble writes its URLs by it
		},
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: id.roots}},
		ErrorLog:  quiet,
	}
	server := &http.Server{
		Handler: f, ErrorLog: quiet, ReadHeaderTimeout: patience,
		TLSConfig:    &tls.Config{Certificates: []tls.Certificate{id.pair}},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1 only: goroutines are easier to account for
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(listener, "", "")
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return f
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	down, intercept := f.down, f.intercept
	f.mu.Unlock()
	if down {
		panic(http.ErrAbortHandler) // the client sees a connection that breaks
	}
	if intercept != nil && intercept(w, r) {
		return
	}
	if r.Method == http.MethodPost && r.URL.Path == "/order-plz" && f.refuseOrder(w, r) {
		return
	}
	f.proxy.ServeHTTP(w, r)
}

// refuseOrder counts a new order, and refuses it if a CAA record forbids it.
func (f *front) refuseOrder(w http.ResponseWriter, r *http.Request) bool {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var signed struct{ Payload string }
	var order struct {
		Identifiers []struct{ Value string }
	}
	if json.Unmarshal(body, &signed) != nil {
		return false
	}
	if payload, err := base64.RawURLEncoding.DecodeString(signed.Payload); err != nil || json.Unmarshal(payload, &order) != nil {
		return false
	}
	for _, id := range order.Identifiers {
		f.mu.Lock()
		f.orders[id.Value]++
		f.mu.Unlock()
		if issuer := f.forbids(id.Value); issuer != "" {
			Problem{http.StatusForbidden, "caa", fmt.Sprintf("CAA record for %s prevents issuance: only %s may issue", id.Value, issuer)}.Write(w)
			return true
		}
	}
	return false
}

// forbids returns who may issue for a host instead of us, by RFC 8659.
func (f *front) forbids(host string) string {
	labels := strings.Split(strings.TrimPrefix(host, "*."), ".")
	for i := range labels {
		query := new(dns.Msg).SetQuestion(dns.Fqdn(strings.Join(labels[i:], ".")), dns.TypeCAA)
		answer, err := dns.Exchange(query, f.nameServer)
		if err != nil {
			continue
		}
		other := ""
		for _, rr := range answer.Answer {
			if caa, ok := rr.(*dns.CAA); ok && caa.Value == caaIdentity {
				return ""
			} else if ok {
				other = caa.Value
			}
		}
		if other != "" {
			return other
		}
	}
	return ""
}

// Problem is an error of RFC 8555 section 6.7.
type Problem struct {
	Status int    // of HTTP
	Kind   string // the last word of its type: "caa"
	Detail string
}

// Write answers with the problem.
func (p Problem) Write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "urn:ietf:params:acme:error:" + p.Kind, "detail": p.Detail, "status": p.Status,
	})
}

// Stop has connections to the authority break.
func (a *Authority) Stop() { a.front.set(func(f *front) { f.down = true }) }

// Continue ends Stop.
func (a *Authority) Continue() { a.front.set(func(f *front) { f.down = false }) }

// SetIntercept shows every request to i from now on; nil ends that.
func (a *Authority) SetIntercept(i Intercept) { a.front.set(func(f *front) { f.intercept = i }) }

// Orders returns how many orders for a host were placed.
func (a *Authority) Orders(host string) (n int) {
	a.front.set(func(f *front) { n = f.orders[host] })
	return n
}

func (f *front) set(change func(*front)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// identity is the certificate of the directory, and who signed it.
type identity struct {
	roots     *x509.CertPool
	rootsFile string
	pair      tls.Certificate
}

// newIdentity makes a certificate for 127.0.0.1 and writes it to front.pem,
// front.key and roots.pem in dir.
func newIdentity(t testing.TB, dir string) identity {
	t.Helper()
	rootKey, root := certify(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "root of a test's directory"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	key, leaf := certify(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "a test's directory"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, root, rootKey)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"roots.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}),
		"front.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}),
		"front.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(files["front.pem"], files["front.key"])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	return identity{roots, filepath.Join(dir, "roots.pem"), pair}
}

// certify signs a template by parent, or by itself.
func certify(t testing.TB, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, certificate
}
