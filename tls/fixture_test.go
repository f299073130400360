package tls_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"golang.org/x/crypto/ocsp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluicegw/sluice/test/envoytest"
)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func join(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// parsed returns the first certificate of a PEM text.
func parsed(t testing.TB, text []byte) *x509.Certificate {
	t.Helper()
	b, _ := pem.Decode(text)
	return must[*x509.Certificate](t)(x509.ParseCertificate(b.Bytes))
}

func template(change func(*x509.Certificate)) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "c"}, DNSNames: []string{"a.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(c)
	}
	return c
}

// certificate returns a self-signed one for the key, in PEM.
func certificate(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) []byte {
	t.Helper()
	c := template(change)
	return block("CERTIFICATE", must[[]byte](t)(x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)))
}

func asCA(c *x509.Certificate) {
	c.Subject.CommonName = "test root"
	c.BasicConstraintsValid, c.IsCA, c.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(curve, rand.Reader))
}

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	return block("PRIVATE KEY", must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key)))
}

// authority is a CA that signs certificates and OCSP responses.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key := ecKey(t, elliptic.P256())
	text := certificate(t, key, asCA)
	return authority{key, parsed(t, text), text}
}

// sign returns a certificate of the authority, in PEM.
func (a authority) sign(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) []byte {
	t.Helper()
	return block("CERTIFICATE", must[[]byte](t)(x509.CreateCertificate(rand.Reader, template(change), a.cert, key.Public(), a.key)))
}

// staple returns an OCSP response of the authority about a serial number.
func (a authority) staple(t testing.TB, serial int64, status int) []byte {
	t.Helper()
	return must[[]byte](t)(ocsp.CreateResponse(a.cert, a.cert, ocsp.Response{
		Status: status, SerialNumber: big.NewInt(serial), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour),
		RevokedAt: time.Now().Add(-time.Minute),
	}, a.key))
}

// validate has the real Envoy read secrets, each used by a cluster, and returns
// what it says against them.
func validate(t *testing.T, secrets []*tlsv3.Secret, use func(*tlsv3.Secret, *tlsv3.CommonTlsContext)) error {
	t.Helper()
	if len(secrets) == 0 {
		t.Fatal("no secret to validate")
	}
	static := &bootstrapv3.Bootstrap_StaticResources{Secrets: secrets}
	for _, s := range secrets {
		context := &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{}}
		use(s, context.CommonTlsContext)
		static.Clusters = append(static.Clusters, &clusterv3.Cluster{
			Name: s.GetName(), ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
			TransportSocket: &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{
				TypedConfig: must[*anypb.Any](t)(anypb.New(context)),
			}},
		})
	}
	file := filepath.Join(t.TempDir(), "envoy.json")
	text := must[[]byte](t)(protojson.Marshal(&bootstrapv3.Bootstrap{StaticResources: static}))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), envoytest.Binary(t), "--mode", "validate", "-c", file).CombinedOutput()
	if err != nil {
		return &refusal{err, string(out)}
	}
	return nil
}

// refusal is what Envoy says when it stops.
type refusal struct {
	error
	output string
}

func (r *refusal) Unwrap() error { return r.error }
func (r *refusal) Error() string { return r.error.Error() + "\n" + r.output }

func asCertificate(s *tlsv3.Secret, common *tlsv3.CommonTlsContext) {
	common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{{Name: s.GetName()}}
}

func asAuthority(s *tlsv3.Secret, common *tlsv3.CommonTlsContext) {
	common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
		ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: s.GetName()},
	}
}
