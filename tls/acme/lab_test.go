package acme_test

import (
	"context"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/tls/acme"
	"github.com/sluicegw/sluice/tls/acme/pebbletest"
	"github.com/sluicegw/sluice/tls/acme/storage"
)

// patience bounds every wait.
const patience = 40 * time.Second

// await waits until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("no %s in %v", what, patience)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// forward passes connections to a port on to wherever target says, until the test
// ends: it stands for the proxy.
func forward(t *testing.T, port int, target func() string) {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target())
			if err != nil {
				_ = in.Close()
				continue
			}
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				wg.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					_ = pair[0].Close()
					_ = pair[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		wg.Wait()
	})
}

func forwardTo(t *testing.T, a *pebbletest.Authority, m *acme.Manager) {
	t.Helper()
	forward(t, a.HTTPPort, func() string { return m.HTTPAddress().String() })
	forward(t, a.TLSPort, func() string { return m.TLSALPNAddress().String() })
}

// served is what OnChange told last.
type served struct {
	mu    sync.Mutex
	certs map[string]*model.ManagedCertificate
	tells int
}

func (s *served) change(changed map[string]*model.ManagedCertificate, removed []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tells++
	if s.certs == nil {
		s.certs = map[string]*model.ManagedCertificate{}
	}
	for host, c := range changed {
		s.certs[host] = c
	}
	for _, host := range removed {
		delete(s.certs, host)
	}
}

// leaf returns the certificate that is served for a host; nil if there is none.
func (s *served) leaf(t *testing.T, host string) *x509.Certificate {
	t.Helper()
	s.mu.Lock()
	c := s.certs[host]
	s.mu.Unlock()
	return leafOf(t, c)
}

func leafOf(t *testing.T, c *model.ManagedCertificate) *x509.Certificate {
	t.Helper()
	if c == nil {
		return nil
	}
	pair, err := stdtls.X509KeyPair(c.ChainPEM, c.KeyPEM)
	if err != nil {
		t.Fatalf("the pair of %s: %v", c.Host, err)
	}
	return pair.Leaf
}

// manager is one that runs.
type manager struct {
	*acme.Manager
	served *served
	stop   func()
}

// options returns quick ones for an authority.
func options(a *pebbletest.Authority, dir string) acme.Options {
	return acme.Options{
		Storage:      storage.NewFile(dir),
		Issuers:      []acme.IssuerOptions{{Directory: a.Directory, TrustedRootsFile: a.RootsFile}},
		Email:        "hostmaster@example.com",
		PollInterval: 30 * time.Millisecond,
		FirstRetry:   100 * time.Millisecond, LastRetry: time.Second,
	}
}

// run starts a manager, until the test ends or stop is called.
func run(t *testing.T, o acme.Options) *manager {
	t.Helper()
	m := &manager{served: &served{}}
	o.OnChange = m.served.change
	var err error
	if m.Manager, err = acme.New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the manager does not stop")
		}
	})
	t.Cleanup(m.stop)
	return m
}

func (m *manager) status(t *testing.T, host string) acme.HostStatus {
	t.Helper()
	for _, s := range m.Status() {
		if s.Host == host {
			return s
		}
	}
	t.Fatalf("%s has no status", host)
	return acme.HostStatus{}
}

// valid waits until a host is in order: its certificate may be served a moment before
// the last failure is forgotten.
func (m *manager) valid(t *testing.T, host string) (s acme.HostStatus) {
	t.Helper()
	await(t, host+" in order", func() bool {
		s = m.status(t, host)
		return s.State == acme.StateValid
	})
	return s
}

// issued waits for a certificate other than old.
func (m *manager) issued(t *testing.T, host string, old *x509.Certificate) (leaf *x509.Certificate) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("%+v", m.Status())
		}
	}()
	await(t, "new certificate for "+host, func() bool {
		leaf = m.served.leaf(t, host)
		return leaf != nil && (old == nil || !leaf.Equal(old))
	})
	return leaf
}

func wants(http bool, hosts ...string) (out []model.ManagedHost) {
	for _, h := range hosts {
		out = append(out, model.ManagedHost{Host: h, HTTP: http})
	}
	return out
}

func loopback(a netip.AddrPort) bool { return a.Addr().IsLoopback() && a.Port() != 0 }

// decode reads a JSON body.
func decode(r *http.Request, into any) error { return json.NewDecoder(r.Body).Decode(into) }

// handshake speaks TLS-ALPN-01 as an authority does.
func handshake(conn net.Conn, host string) error {
	return stdtls.Client(conn, &stdtls.Config{
		ServerName: host, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true, //nolint:gosec // as RFC 8737 has it
	}).Handshake()
}
