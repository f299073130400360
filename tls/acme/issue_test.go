package acme_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/tls/acme"
	"github.com/sluicegw/sluice/tls/acme/dns"
	"github.com/sluicegw/sluice/tls/acme/dns/dnstest"
	"github.com/sluicegw/sluice/tls/acme/pebbletest"
)

func TestIssueByTLSALPN01(t *testing.T) {
	t.Parallel()
	a := pebbletest.Start(t, pebbletest.Options{})
	var log bytes.Buffer
	o := options(a, t.TempDir())
	o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	registry := prometheus.NewRegistry()
	o.Registerer = registry
	m := run(t, o)
	if !loopback(m.HTTPAddress()) || !loopback(m.TLSALPNAddress()) {
		t.Fatalf("%v %v", m.HTTPAddress(), m.TLSALPNAddress())
	}
	// Port 80 is closed: HTTP-01 cannot be what works.
	forward(t, a.TLSPort, func() string { return m.TLSALPNAddress().String() })
	m.Want(wants(false, "a.example.com"))
	leaf := m.issued(t, "a.example.com", nil)
	chain := x509.NewCertPool()
	chain.AppendCertsFromPEM(m.served.certs["a.example.com"].ChainPEM)
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: "a.example.com", Roots: a.Roots(t), Intermediates: chain}); err != nil {
		t.Error(err)
	}
	s := m.valid(t, "a.example.com")
	left := s.NotAfter.Sub(s.Renewal)
	if s.Issuer != a.Directory || s.Error != "" || left < 29*24*time.Hour || !s.NotAfter.Equal(leaf.NotAfter) {
		t.Errorf("%+v", s)
	}
	if n := a.Orders("a.example.com"); n != 1 {
		t.Errorf("%d orders", n)
	}
	if got := gathered(t, registry)[`sluice_certificate_expiry_seconds a.example.com`]; got != float64(leaf.NotAfter.Unix()) {
		t.Errorf("the metric of the expiry is %v", got)
	}
	await(t, "the metric of orders", func() bool { return gathered(t, registry)["sluice_acme_orders_total "+a.Directory+" issued"] == 1 })
	m.stop()
	if got := gathered(t, registry); len(got) != 0 {
		t.Errorf("the metrics of a stopped manager: %v", got)
	}
	if strings.Contains(log.String(), "PRIVATE KEY") {
		t.Error("a private key is in the log")
	}
	if !strings.Contains(log.String(), "certificate is issued") {
		t.Error("nothing is logged")
	}
}

// gathered returns the metrics of a registry by name and label values.
func gathered(t *testing.T, r prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			out[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

func TestIssueByHTTP01(t *testing.T) {
	t.Parallel()
	a := pebbletest.Start(t, pebbletest.Options{})
	m := run(t, options(a, t.TempDir()))
	// Port 443 is closed: TLS-ALPN-01 cannot be what works. The authority may be
	// asked for that first.
	forward(t, a.HTTPPort, func() string { return m.HTTPAddress().String() })
	m.Want(wants(true, "http.example.com"))
	m.issued(t, "http.example.com", nil)
	for path, host := range map[string]string{
		"/": "http.example.com", "/.well-known/acme-challenge/x": "http.example.com", "/.well-known/acme-challenge/y": "stranger.example.com",
	} {
		request, err := http.NewRequest(http.MethodGet, "http://"+m.HTTPAddress().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("%s of %s: %s", path, host, response.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// zoneHook is a program of somebody else that the HTTP hook talks to.
func zoneHook(t *testing.T, server *dnstest.Server) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /zone", func(w http.ResponseWriter, r *http.Request) {
		var c dns.Change
		if err := decode(r, &c); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		server.Set(c.Name, c.Value, c.Action == "present")
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(listener) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return "http://" + listener.Addr().String() + "/zone"
}

func TestIssueByDNS01(t *testing.T) {
	t.Parallel()
	server := dnstest.Start(t, "update.example.", "hook.example.")
	a := pebbletest.Start(t, pebbletest.Options{NameServer: server.Address})
	for zone, provider := range map[string]certmagic.DNSProvider{
		"update.example": &dns.Update{Server: server.Address, Key: dnstest.Key, Secret: dnstest.Secret},
		"hook.example":   dns.Endpoint{URL: zoneHook(t, server), Client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}},
	} {
		t.Run(zone, func(t *testing.T) {
			o := options(a, t.TempDir())
			o.DNS = &acme.DNS{Provider: provider, TTL: time.Second, Resolvers: []string{server.Address}}
			m := run(t, o)
			m.Want(wants(true, "*."+zone))
			leaf := m.issued(t, "*."+zone, nil)
			if err := leaf.VerifyHostname("any." + zone); err != nil {
				t.Error(err)
			}
			if left := server.TXT("_acme-challenge." + zone); len(left) != 0 {
				t.Errorf("the record is left behind: %q", left)
			}
		})
	}
}

func TestWildcardWithoutDNSIsRefused(t *testing.T) {
	t.Parallel()
	a := pebbletest.Start(t, pebbletest.Options{})
	m := run(t, options(a, t.TempDir()))
	forwardTo(t, a, m.Manager)
	m.Want(wants(true, "*.example.com", "b.example.com"))
	m.issued(t, "b.example.com", nil)
	if s := m.status(t, "*.example.com"); s.State != acme.StateRefused || !strings.Contains(s.Error, "DNS-01") {
		t.Errorf("%+v", s)
	}
	if err := m.Renew(t.Context(), "*.example.com"); err == nil || !strings.Contains(err.Error(), "DNS-01") {
		t.Errorf("%v", err)
	}
	if n := a.Orders("*.example.com"); n != 0 {
		t.Errorf("%d orders", n)
	}
}

func TestExternalAccountProfileAndChain(t *testing.T) {
	t.Parallel()
	const id, mac = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	a := pebbletest.Start(t, pebbletest.Options{
		AccountKeys: map[string]string{id: mac}, Profiles: map[string]time.Duration{"short": time.Hour}, AlternateRoots: 1,
	})
	root := a.Root(t, 1)
	o := options(a, t.TempDir())
	o.Email = "" // is nothing anybody is asked for on a terminal
	o.Issuers[0].EABKeyID, o.Issuers[0].EABHMAC = id, mac
	o.Issuers[0].Profile = "short"
	o.Issuers[0].PreferredChain = root.Subject.CommonName
	m := run(t, o)
	forwardTo(t, a, m.Manager)
	m.Want(wants(true, "eab.example.com"))
	leaf := m.issued(t, "eab.example.com", nil)
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > time.Hour+time.Second {
		t.Errorf("a certificate of the profile lives %v", life)
	}
	roots, chain := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	chain.AppendCertsFromPEM(m.served.certs["eab.example.com"].ChainPEM)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: chain}); err != nil {
		t.Errorf("the chain does not lead to the preferred root: %v", err)
	}
}

func TestNextIssuerTakesOver(t *testing.T) {
	t.Parallel()
	first := pebbletest.Start(t, pebbletest.Options{})
	second := pebbletest.Start(t, pebbletest.Options{HTTPPort: first.HTTPPort, TLSPort: first.TLSPort})
	first.Stop()
	dir := t.TempDir()
	o := options(first, dir)
	o.Issuers = append(o.Issuers, options(second, dir).Issuers...)
	m := run(t, o)
	var current atomic.Pointer[acme.Manager]
	current.Store(m.Manager)
	forward(t, first.HTTPPort, func() string { return current.Load().HTTPAddress().String() })
	forward(t, first.TLSPort, func() string { return current.Load().TLSALPNAddress().String() })
	m.Want(wants(true, "two.example.com"))
	leaf := m.issued(t, "two.example.com", nil)
	if s := m.valid(t, "two.example.com"); s.Issuer != second.Directory {
		t.Errorf("%+v", s)
	}
	m.stop()
	// A configuration with another authority serves what the former one issued,
	// until it has its own.
	second.Stop()
	m = run(t, options(first, dir))
	before := m.Load(t.Context(), []string{"two.example.com", "none.example.com"})
	if got := leafOf(t, before["two.example.com"]); got == nil || !got.Equal(leaf) || len(before) != 1 {
		t.Fatalf("loaded %d", len(before))
	}
	first.Continue()
	current.Store(m.Manager)
	m.Want(wants(true, "two.example.com"))
	m.issued(t, "two.example.com", leaf)
	if s := m.valid(t, "two.example.com"); s.Issuer != first.Directory {
		t.Errorf("%+v", s)
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	a := pebbletest.Authority{Directory: "https://127.0.0.1:1/dir"}
	for words, change := range map[string]func(*acme.Options){
		"storage":    func(o *acme.Options) { o.Storage = nil },
		"no URL":     func(o *acme.Options) { o.Issuers[0].Directory = "letsencript" },
		"twice":      func(o *acme.Options) { o.Issuers = append(o.Issuers, o.Issuers[0]) },
		"MAC key":    func(o *acme.Options) { o.Issuers[0].EABKeyID = "x" },
		"no such":    func(o *acme.Options) { o.Issuers[0].TrustedRootsFile = t.TempDir() + "/none" },
		"provider":   func(o *acme.Options) { o.DNS = &acme.DNS{} },
		"duplicate":  func(o *acme.Options) { o.Registerer = occupied(t) },
		"no certifi": func(o *acme.Options) { o.Issuers[0].TrustedRootsFile = "issue_test.go" },
	} {
		o := options(&a, t.TempDir())
		change(&o)
		if _, err := acme.New(o); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want words %q", err, words)
		}
	}
}

// occupied returns a registry that has the metrics of a Manager.
func occupied(t *testing.T) prometheus.Registerer {
	t.Helper()
	r := prometheus.NewRegistry()
	a := pebbletest.Authority{Directory: "https://127.0.0.1:1/dir"}
	o := options(&a, t.TempDir())
	o.Registerer = r
	run(t, o)
	return r
}

func TestManagerLeavesNothingBehind(t *testing.T) {
	a := pebbletest.Start(t, pebbletest.Options{})
	before := goleak.IgnoreCurrent()
	m := run(t, options(a, t.TempDir()))
	forwardTo(t, a, m.Manager)
	m.Want(wants(true, "leak.example.com"))
	m.issued(t, "leak.example.com", nil)
	a.Stop()
	m.Want(append(wants(true, "leak.example.com"), model.ManagedHost{Host: "stuck.example.com"}))
	await(t, "failure", func() bool { return m.status(t, "stuck.example.com").Error != "" })
	m.stop()
	if err := m.Renew(t.Context(), "leak.example.com"); err == nil || errors.Is(err, t.Context().Err()) {
		t.Errorf("a stopped manager renews: %v", err)
	}
	goleak.VerifyNone(t, before,
		// certmagic never ends the pace of an account.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"),
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"),
	)
}
