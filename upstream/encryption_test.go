package upstream_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/sluicegw/sluice/model"
)

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate
	next int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, BasicConstraintsValid: true, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, dir: t.TempDir(), cert: cert, key: key, next: 2}
	a.file = a.store("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

func (a *authority) store(name string, content []byte) string {
	a.t.Helper()
	file := filepath.Join(a.dir, name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		a.t.Fatal(err)
	}
	return file
}

// sign returns the PEM of a certificate for names and of its key.
func (a *authority) sign(commonName string, names ...string) (cert, key []byte) {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: commonName}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	a.next++
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// server returns the configuration of a server with names.
func (a *authority) server(names ...string) *stdtls.Config {
	a.t.Helper()
	pair, err := stdtls.X509KeyPair(a.sign("server", names...))
	if err != nil {
		a.t.Fatal(err)
	}
	return &stdtls.Config{Certificates: []stdtls.Certificate{pair}}
}

// revoke returns the file of a list that revokes every certificate up to now.
func (a *authority) revoke() string {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for n := int64(2); n < a.next; n++ {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: big.NewInt(n), RevocationTime: time.Now().Add(-time.Minute),
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.store(fmt.Sprint("crl", a.next, ".pem"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

func TestServersAreVerified(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	empty := ca.revoke() // nothing is signed yet
	b := serveBackend(t, "b", model.Locality{}, ca.server("good.example.com"))
	all := ca.revoke()
	cases := []struct {
		name string
		tls  model.UpstreamTLS
		sans []string // of the service
		host string   // "" is good.example.com
		want int
	}{
		{"the name asked for", model.UpstreamTLS{CAFile: ca.file}, nil, "", http.StatusOK},
		{"another name asked for", model.UpstreamTLS{CAFile: ca.file}, nil, "bad.example.com", http.StatusServiceUnavailable},
		{"the right SNI", model.UpstreamTLS{CAFile: ca.file, SNI: "good.example.com"}, nil, "bad.example.com", http.StatusOK},
		{"a wrong SNI", model.UpstreamTLS{CAFile: ca.file, SNI: "bad.example.com"}, nil, "", http.StatusServiceUnavailable},
		{"the right name", model.UpstreamTLS{CAFile: ca.file, SubjectAltNames: []string{"x.example.com", "good.example.com"}}, nil, "bad.example.com", http.StatusOK},
		{"a wrong name", model.UpstreamTLS{CAFile: ca.file, SubjectAltNames: []string{"bad.example.com"}}, nil, "", http.StatusServiceUnavailable},
		{"the service's name", model.UpstreamTLS{CAFile: ca.file}, []string{"good.example.com"}, "bad.example.com", http.StatusOK},
		{"a wrong name of the service", model.UpstreamTLS{CAFile: ca.file}, []string{"bad.example.com"}, "", http.StatusServiceUnavailable},
		{"another authority", model.UpstreamTLS{CAFile: stranger.file}, nil, "", http.StatusServiceUnavailable},
		{"the machine's authorities", model.UpstreamTLS{}, nil, "", http.StatusServiceUnavailable},
		{"not verified", model.UpstreamTLS{InsecureSkipVerify: true}, nil, "bad.example.com", http.StatusOK},
		{"not revoked", model.UpstreamTLS{CAFile: ca.file, CRLFile: empty}, nil, "", http.StatusOK},
		{"revoked", model.UpstreamTLS{CAFile: ca.file, CRLFile: all}, nil, "", http.StatusServiceUnavailable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.tls.Mode = model.TLSSimple
			w := httpWorld(model.TrafficPolicy{TLS: &c.tls}, b.Endpoint)
			w.in.SubjectAltNames = c.sans
			host := c.host
			if host == "" {
				host = "good.example.com"
			}
			if a := start(t, w).ask("/", "Host", host); a.Status != c.want {
				t.Errorf("got %+v, want %d", a, c.want)
			}
		})
	}
	t.Run("the machine trusts it", func(t *testing.T) {
		w := httpWorld(model.TrafficPolicy{TLS: &model.UpstreamTLS{Mode: model.TLSSimple}}, b.Endpoint)
		w.in.Roots = ca.file
		if a := start(t, w).ask("/", "Host", "good.example.com"); a.Status != http.StatusOK {
			t.Errorf("got %+v, want 200", a)
		}
	})
	t.Run("in HTTP/2", func(t *testing.T) {
		w := httpWorld(model.TrafficPolicy{TLS: &model.UpstreamTLS{Mode: model.TLSSimple, CAFile: ca.file}}, b.Endpoint)
		w.in.Port.Protocol = model.ProtocolHTTP2
		if a := start(t, w).ask("/", "Host", "good.example.com"); a.Proto != "HTTP/2.0" {
			t.Errorf("got %+v, want HTTP/2.0", a)
		}
	})
}

func inline(content []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: content}}
}

func TestClientsShowTheirCertificate(t *testing.T) {
	ca := newAuthority(t)
	server := ca.server("good.example.com")
	server.ClientAuth, server.ClientCAs = stdtls.RequireAndVerifyClientCert, x509.NewCertPool()
	server.ClientCAs.AddCert(ca.cert)
	b := serveBackend(t, "b", model.Locality{}, server)
	cert, key := ca.sign("gateway")
	certFile, keyFile := ca.store("client.pem", cert), ca.store("client.key", key)
	root, err := os.ReadFile(ca.file)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []*tlsv3.Secret{
		{Name: model.SecretName(model.Credential{Namespace: "shop", Name: "backend"}, false), Type: &tlsv3.Secret_TlsCertificate{
			TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(cert), PrivateKey: inline(key)},
		}},
		{Name: model.SecretName(model.Credential{Namespace: "shop", Name: "backend"}, true), Type: &tlsv3.Secret_ValidationContext{
			ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(root)},
		}},
	}
	cases := []struct {
		name    string
		tls     model.UpstreamTLS
		secrets []*tlsv3.Secret
		want    int
	}{
		{"by files", model.UpstreamTLS{Mode: model.TLSMutual, CertificateFile: certFile, KeyFile: keyFile, CAFile: ca.file}, nil, http.StatusOK},
		{"by credential", model.UpstreamTLS{Mode: model.TLSMutual, Credential: "backend"}, secrets, http.StatusOK},
		{"by credential, of another name", model.UpstreamTLS{Mode: model.TLSMutual, Credential: "backend", SNI: "bad.example.com"}, secrets, http.StatusServiceUnavailable},
		{"not at all", model.UpstreamTLS{Mode: model.TLSMutual, CAFile: ca.file}, nil, http.StatusServiceUnavailable},
		{"not asked to", model.UpstreamTLS{Mode: model.TLSSimple, CAFile: ca.file}, nil, http.StatusServiceUnavailable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := httpWorld(model.TrafficPolicy{TLS: &c.tls}, b.Endpoint)
			w.in.PolicyNamespace, w.secrets = "shop", c.secrets
			a := start(t, w).ask("/", "Host", "good.example.com")
			if a.Status != c.want || c.want == http.StatusOK && a.Peer != "gateway" {
				t.Errorf("got %+v, want %d", a, c.want)
			}
		})
	}
}

// TestStreamsAreVerified opens TLS around the bytes of a TCP client.
func TestStreamsAreVerified(t *testing.T) {
	ca := newAuthority(t)
	for host, want := range map[string]bool{"good.example.com": true, "bad.example.com": false} {
		t.Run(host, func(t *testing.T) {
			listener, err := stdtls.Listen("tcp", "127.0.0.1:0", ca.server("good.example.com"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { listener.Close() })
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					_, _ = io.WriteString(conn, "hello")
					conn.Close()
				}
			}()
			w := httpWorld(model.TrafficPolicy{TLS: &model.UpstreamTLS{Mode: model.TLSSimple, CAFile: ca.file}}, endpoint(listener.Addr(), model.Locality{}))
			w.in.Destination.Host, w.in.Port.Protocol = host, model.ProtocolTCP
			conn, err := net.Dial("tcp", start(t, w).address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			got, _ := io.ReadAll(conn)
			if (string(got) == "hello") != want {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestProxyProtocol reads what a plain TCP server gets before the client's own
// bytes.
func TestProxyProtocol(t *testing.T) {
	for version := range 3 {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { listener.Close() })
			got := make(chan []byte, 1)
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				bytes, _ := bufio.NewReader(conn).ReadBytes('\x00')
				got <- bytes
			}()
			w := httpWorld(model.TrafficPolicy{ProxyProtocol: model.ProxyProtocol(version)}, endpoint(listener.Addr(), model.Locality{}))
			w.in.Port.Protocol = model.ProtocolTCP
			conn, err := net.Dial("tcp", start(t, w).address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, "hello\x00"); err != nil {
				t.Fatal(err)
			}
			client, front := conn.LocalAddr().(*net.TCPAddr), conn.RemoteAddr().(*net.TCPAddr)
			switch version {
			case 0:
				if text := string(<-got); text != "hello\x00" {
					t.Errorf("got %q", text)
				}
			case 1:
				want := fmt.Sprintf("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\nhello\x00", client.Port, front.Port)
				if text := string(<-got); text != want {
					t.Errorf("got %q, want %q", text, want)
				}
			case 2:
				if text := <-got; !bytes.HasPrefix(text, []byte("\r\n\r\n\x00")) || strings.Contains(string(text), "PROXY") {
					t.Errorf("got %q, want the signature of version 2", text)
				}
			}
		})
	}
}
