package loadtest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

func TestCertificatesAreGood(t *testing.T) {
	a, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	key, err := newECDSAKey()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	serials := map[string]bool{}
	for range 2 {
		c, err := a.issue("a.load.test", key)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair([]byte(c.certPEM), []byte(c.keyPEM))
		if err != nil {
			t.Fatal(err)
		}
		serials[pair.Leaf.SerialNumber.String()] = true
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "a.load.test", Roots: roots}); err != nil {
			t.Error(err)
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "b.load.test", Roots: roots}); err == nil {
			t.Error("the certificate is good for another host")
		}
	}
	if len(serials) != 2 {
		t.Errorf("serial numbers are %v, want two", serials)
	}
}

func TestSecureFiles(t *testing.T) {
	w, err := newSecureWorld(newWorld(8080, 3, []backendRef{{"s000", 1}, {"s001", 2}}))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.certify(1); err != nil {
		t.Fatal(err)
	}
	var secret struct {
		Metadata   struct{ Name string }
		StringData map[string]string `yaml:"stringData"`
	}
	if err := yaml.Unmarshal([]byte(w.secretFile(1).text), &secret); err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair([]byte(secret.StringData["tls.crt"]), []byte(secret.StringData["tls.key"])); err != nil {
		t.Error(err)
	}
	docs := yaml.NewDecoder(strings.NewReader(w.hostFile(1).text))
	var route struct {
		Kind string
		Spec struct{ Hosts, Gateways []string }
	}
	var gateway struct {
		Kind     string
		Metadata struct{ Name string }
		Spec     struct {
			Servers []struct {
				Port  struct{ Number int }
				Hosts []string
				TLS   struct {
					CredentialName string `yaml:"credentialName"`
				}
			}
		}
	}
	if err := errors.Join(docs.Decode(&route), docs.Decode(&gateway)); err != nil {
		t.Fatal(err)
	}
	server := gateway.Spec.Servers[0]
	switch {
	case route.Kind != "VirtualService" || gateway.Kind != "Gateway":
		t.Errorf("kinds are %s and %s", route.Kind, gateway.Kind)
	case len(route.Spec.Gateways) != 1 || route.Spec.Gateways[0] != gateway.Metadata.Name:
		t.Errorf("routes of %v, gateway %s", route.Spec.Gateways, gateway.Metadata.Name)
	case server.TLS.CredentialName != secret.Metadata.Name || server.Port.Number != w.port:
		t.Errorf("server is %+v", server)
	case len(server.Hosts) != 1 || server.Hosts[0] != hostName(1) || route.Spec.Hosts[0] != hostName(1):
		t.Errorf("hosts are %v and %v", server.Hosts, route.Spec.Hosts)
	}
}

func TestStaticConfigEndsTLS(t *testing.T) {
	in := staticWorld(newWorld(1, 2, []backendRef{{"s000", 11}, {"s001", 12}}), 8099, true)
	in.Tickets = "/keys"
	in.Secure = []staticSecure{{hostName(0), "/a.crt", "/a.key"}, {hostName(1), "/b.crt", "/b.key"}}
	text, err := staticConfig(in)
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	for want, n := range map[string]int{"server_names": 2, "tls_inspector.v3": 1, "use_remote_address": 2, "/keys": 2, "/b.key": 1, "- filters:": 0} {
		if got := strings.Count(text, want); got != n {
			t.Errorf("%q %d times, want %d", want, got, n)
		}
	}
}

// secureServer answers for the first two hosts of a world as their backend. It may
// close each connection after one request.
func secureServer(t *testing.T, w *secureWorld, config *tls.Config, closes bool) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set(headerBackend, w.world.services[0].name)
		if closes {
			out.Header().Set("Connection", "close")
		}
		_, _ = io.WriteString(out, "here\n")
	}))
	for i := range 2 {
		if err := w.certify(i); err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair([]byte(w.certs[i].certPEM), []byte(w.certs[i].keyPEM))
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = append(config.Certificates, pair)
	}
	s.TLS = config
	s.StartTLS()
	t.Cleanup(s.Close)
	w.port = s.Listener.Addr().(*net.TCPAddr).Port
	return s
}

func newTestWorld(t *testing.T) *secureWorld {
	t.Helper()
	w, err := newSecureWorld(newWorld(8080, 2, []backendRef{{"s000", 1}}))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestDroppedConnectionsAreCounted(t *testing.T) {
	w := newTestWorld(t)
	s := secureServer(t, w, &tls.Config{}, false)
	h, err := w.hold(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if n := h.dropped(t.Context()); n != 0 {
		t.Errorf("%d of the connections that nobody touched are dropped", n)
	}
	s.CloseClientConnections()
	if n := h.dropped(t.Context()); n != 2 {
		t.Errorf("%d of 2 closed connections are dropped", n)
	}
	if n := h.dropped(t.Context()); n != 0 {
		t.Errorf("%d connections are dropped after they were opened anew", n)
	}
}

func TestHandshakesAreChecked(t *testing.T) {
	for _, c := range []struct {
		name       string
		noTickets  bool
		closes     bool
		variant    variant
		otherFirst bool // the caller expects a certificate that is replaced
		wrong      bool // the second call is
	}{
		{name: "full", variant: variant{version: tls.VersionTLS13}},
		{name: "resumed", variant: variant{version: tls.VersionTLS13, resumed: true}},
		{name: "resumed with TLS 1.2", variant: variant{version: tls.VersionTLS12, resumed: true}},
		{name: "never resumed", noTickets: true, variant: variant{version: tls.VersionTLS13, resumed: true}, wrong: true},
		{name: "another certificate", variant: variant{version: tls.VersionTLS13}, otherFirst: true, wrong: true},
		{name: "closed by the server", closes: true, variant: variant{version: tls.VersionTLS13}, wrong: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTestWorld(t)
			secureServer(t, w, &tls.Config{SessionTicketsDisabled: c.noTickets}, c.closes)
			if c.otherFirst {
				if err := w.certify(0); err != nil {
					t.Fatal(err)
				}
			}
			caller := w.handshakes(w.address(), c.variant)
			defer caller.close()
			_ = caller.call(t.Context(), 0)
			if err := caller.call(t.Context(), 1); errors.Is(err, errWrongAnswer) != c.wrong || !c.wrong && err != nil {
				t.Errorf("the second call is %v", err)
			}
		})
	}
}

func TestStrangersThatAreTakenAreCounted(t *testing.T) {
	w := newTestWorld(t)
	secureServer(t, w, &tls.Config{}, false) // shows a certificate to anybody
	times, accepted := w.askStrangers(t.Context(), 9)
	if accepted != 9 || times.h.TotalCount() != 9 || times.h.Max() > time.Minute.Microseconds() {
		t.Errorf("%d of 9 were taken, %d timed", accepted, times.h.TotalCount())
	}
}
