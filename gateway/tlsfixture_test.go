package gateway_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
)

// authority signs certificates that live as long as the test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, key: ecdsaKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = a.sign(template, template, a.key)
	return a
}

func ecdsaKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template, parent *x509.Certificate, key crypto.Signer) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// issue signs a certificate for key with names: DNS names, or URIs with "://".
func (a *authority) issue(key crypto.Signer, names ...string) stdtls.Certificate {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: strings.Join(names, " ")},
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if uri, err := url.Parse(name); err == nil && strings.Contains(name, "://") {
			template.URIs = append(template.URIs, uri)
			continue
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	cert := a.sign(template, a.cert, key)
	return stdtls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func pemOf(kind string, der []byte) *corev3.DataSource {
	return inline(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func inline(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}

// certificate is the secret of that name with a certificate and its key.
func (a *authority) certificate(name string, cert stdtls.Certificate) *tlsv3.Secret {
	a.t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: pemOf("CERTIFICATE", cert.Certificate[0]), PrivateKey: pemOf("PRIVATE KEY", key),
	}}}
}

// trust is the secret of that name with the authority itself.
func (a *authority) trust(name string) *tlsv3.Secret {
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
		TrustedCa: pemOf("CERTIFICATE", a.cert.Raw),
	}}}
}

// tickets is the secret with one random key.
func (a *authority) tickets() *tlsv3.Secret {
	key := make([]byte, 80)
	_, _ = rand.Read(key)
	return &tlsv3.Secret{Name: model.SecretTickets, Type: &tlsv3.Secret_SessionTicketKeys{
		SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{Keys: []*corev3.DataSource{inline(key)}},
	}}
}

func spki(cert stdtls.Certificate) string {
	sum := sha256.Sum256(cert.Leaf.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func digest(cert stdtls.Certificate) string {
	sum := sha256.Sum256(cert.Leaf.Raw)
	return hex.EncodeToString(sum[:])
}

// ports are TLS listeners in the making, with the tables and secrets behind them.
type ports struct {
	*streams
	authority *authority
	keys      []string // of the fallback
}

// finding is how a table is laid out, and whether hosts find it by scope.
type finding struct {
	address        string
	scopes, scoped bool
}

// findings are all ways, each on an address of its own.
func findings() map[string]finding {
	return map[string]finding{
		"by name": {"127.0.0.1", false, false}, "plain": {"127.0.0.2", true, false}, "scoped": {"127.0.0.3", true, true},
	}
}

func newPorts(t *testing.T) *ports {
	p := &ports{streams: newStreams(t), authority: newAuthority(t)}
	add(t, p.resources, model.TypeSecret, p.authority.trust("ca"))
	add(t, p.resources, model.TypeSecret, p.authority.tickets())
	return p
}

// certificate makes the secret "name" for DNS names.
func (p *ports) certificate(name string, key crypto.Signer, names ...string) {
	p.t.Helper()
	add(p.t, p.resources, model.TypeSecret, p.authority.certificate(name, p.authority.issue(key, names...)))
}

// table makes a route table of hosts; what it does not have is misdirected.
func (p *ports) table(name string, scoped bool, hosts ...*routev3.VirtualHost) {
	p.t.Helper()
	hosts = append(hosts, gateway.Misdirected([]string{"*"}))
	add(p.t, p.resources, model.TypeExtension, gateway.TableLayout(name, scoped))
	var encoded [][]byte
	for _, vh := range hosts {
		host := vh.GetDomains()[0]
		if scoped {
			if strings.HasPrefix(host, "*.") {
				p.keys = append(p.keys, model.ScopeName(name, host))
			}
			routes := gateway.ScopedTable(name, vh, 0)
			add(p.t, p.resources, model.TypeRoute, routes)
			add(p.t, p.resources, model.TypeScope, gateway.ScopeTo(name, host, routes.GetName()))
			continue
		}
		b, err := proto.Marshal(vh)
		if err != nil {
			p.t.Fatal(err)
		}
		encoded = append(encoded, b)
	}
	if !scoped {
		p.keys = append(p.keys, model.ScopeName(name, model.PlainScope))
		add(p.t, p.resources, model.TypeScope, gateway.TableScope(name))
		p.resources[model.ResourceName{Type: model.TypeRoute, Name: name}] = gateway.PlainTable(name, encoded, 0)
	}
}

// listenTLS adds the listener of in, which has as many problems as wanted, and
// checks that all it needs is there.
func (p *ports) listenTLS(problems int, in gateway.StreamInput) {
	p.t.Helper()
	in.Settings, in.Targets = model.DefaultSettings(), p.targets
	l, got := gateway.StreamListener(in)
	if l == nil || len(got) != problems {
		p.t.Fatalf("listener %v with problems %v, want %d", l, got, problems)
	}
	add(p.t, p.resources, model.TypeListener, l)
	needs := gateway.StreamNeeds(in)
	if quic := gateway.QUICListener(in); quic != nil {
		add(p.t, p.resources, model.TypeListener, quic)
		needs = append(needs, gateway.QUICNeeds(in)...)
	}
	for _, need := range needs {
		if _, ok := p.resources[need]; !ok && need.Type != model.TypeExtension {
			p.t.Errorf("the listener needs %v, which the test does not have", need)
		}
	}
}

func (p *ports) start() map[string]string {
	p.t.Helper()
	add(p.t, p.resources, model.TypeExtension, gateway.Fallback(p.keys))
	return p.streams.start()
}

// secure is a host of protocol HTTPS in table "t" with the certificate "cert".
func secure(host string, change func(*model.ServerTLS)) gateway.TLSHost {
	t := &model.ServerTLS{Mode: model.ServerTLSSimple}
	if change != nil {
		change(t)
	}
	h := gateway.TLSHost{
		Host: host, Table: "t", Certificates: []string{"cert"},
		Server: &model.Server{Field: "spec.servers[0]", Protocol: model.ProtocolHTTPS, TLS: t},
	}
	if t.Mode != model.ServerTLSSimple && !t.InsecureSkipVerify {
		h.Authorities = "ca"
	}
	return h
}

// mutual asks for certificates that names are in, if there are names.
func mutual(names ...string) func(*model.ServerTLS) {
	return func(t *model.ServerTLS) { t.Mode, t.SubjectAltNames = model.ServerTLSMutual, names }
}

// trusting is a client of a that sends sni.
func (a *authority) trusting(sni string) *stdtls.Config {
	return &stdtls.Config{ServerName: sni, RootCAs: a.pool()}
}

// client speaks HTTP/2 or, without it, HTTP/1.1, over connections to address that
// config opens. It keeps its connection.
func client(t *testing.T, address string, config *stdtls.Config, http2 bool) *http.Transport {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: config, Protocols: &http.Protocols{}, TLSHandshakeTimeout: patience, ResponseHeaderTimeout: patience,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		},
	}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetHTTP2(http2)
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// ask sends one request for https://host/; an error is what the handshake or the
// first answer failed with.
func ask(t *testing.T, via http.RoundTripper, host string) (reply, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://any/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	response, err := via.RoundTrip(request)
	if err != nil {
		return reply{}, err
	}
	return readReply(t, response), nil
}

func encoded(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
