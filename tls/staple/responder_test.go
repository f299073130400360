package staple

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ocsp"

	"github.com/sluicegw/sluice/test/envoytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// authority signs certificates, and responses as a responder does.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate

	mu     sync.Mutex
	asked  int
	answer func(serial *big.Int) ([]byte, error) // an error is status 500
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	a.cert = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test root"}, BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}, a.key)
	a.says(good, 4*time.Hour)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

// sign returns a certificate that is good for a year.
func (a *authority) sign(c *x509.Certificate, key crypto.Signer) *x509.Certificate {
	a.t.Helper()
	if c.SerialNumber == nil {
		c.SerialNumber = big.NewInt(1)
	}
	if c.NotBefore.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(365*24*time.Hour)
	}
	parent := a.cert
	if parent == nil {
		parent = c
	}
	return must[*x509.Certificate](a.t)(x509.ParseCertificate(must[[]byte](a.t)(x509.CreateCertificate(rand.Reader, c, parent, key.Public(), a.key))))
}

// leaf returns a certificate with a responder.
func (a *authority) leaf(serial int64, responder string) issued {
	a.t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), OCSPServer: []string{responder}}
	return issued{a.sign(c, newKey(a.t)), a.cert}
}

func (c issued) pem() []byte {
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.leaf.Raw}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.issuer.Raw})...)
}

// respond signs a response of the authority itself.
func (a *authority) respond(r ocsp.Response) []byte {
	a.t.Helper()
	return must[[]byte](a.t)(ocsp.CreateResponse(a.cert, a.cert, r, a.key))
}

// answering sets what the responder does from now on.
func (a *authority) answering(f func(serial *big.Int) ([]byte, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = f
}

// says makes the responder give a status that is good for a time from now on.
func (a *authority) says(s status, validity time.Duration) {
	code := ocsp.Good
	if s == revoked {
		code = ocsp.Revoked
	}
	a.answering(func(serial *big.Int) ([]byte, error) {
		now := time.Now()
		return a.respond(ocsp.Response{Status: code, SerialNumber: serial, ThisUpdate: now, NextUpdate: now.Add(validity), RevokedAt: now.Add(-time.Minute)}), nil
	})
}

func (a *authority) fails() {
	a.answering(func(*big.Int) ([]byte, error) { return nil, errors.New("out of order") })
}

// times returns how often it was asked since the last call.
func (a *authority) times() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.asked
	a.asked = 0
	return n
}

// ServeHTTP answers GET requests as RFC 6960 says.
func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked++
	answer := a.answer
	a.mu.Unlock()
	path := r.URL.EscapedPath()
	text, err := url.QueryUnescape(path[strings.LastIndex(path, "/")+1:])
	der, err2 := base64.StdEncoding.DecodeString(text)
	request, err3 := ocsp.ParseRequest(der)
	if err := errors.Join(err, err2, err3); err != nil || r.Method != http.MethodGet {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	response, err := answer(request.SerialNumber)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/ocsp-response")
	_, _ = w.Write(response)
}

// direct carries requests to a handler without a network, so that a fake clock
// can run.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.ServeHTTP(w, r)
	}()
	select {
	case <-done:
		return w.Result(), nil
	case <-r.Context().Done():
		<-done
		return nil, r.Context().Err()
	}
}

// running is a keeper that runs inside of a synctest bubble.
type running struct {
	*Keeper
	t    testing.TB
	log  *envoytest.Output
	out  chan map[string][]byte
	stop context.CancelFunc
	done chan error
}

// start runs a keeper whose jitter is none.
func start(t *testing.T, o Options) *running {
	t.Helper()
	r := &running{t: t, log: &envoytest.Output{}, out: make(chan map[string][]byte), done: make(chan error, 1)}
	o.Log = slog.New(slog.NewTextHandler(io.MultiWriter(r.log), nil))
	if o.Rand == nil {
		o.Rand = func() float64 { return 0.5 }
	}
	r.Keeper = New(o)
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	go func() { r.done <- r.Run(ctx, r.out) }()
	return r
}

func (r *running) end() {
	r.t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
}
