package tls_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluicegw/sluice/test/envoytest"
	"github.com/sluicegw/sluice/tls"
)

func must[T any](t *testing.T) func(T, error) T {
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

// certificate returns a self-signed one for the key, in PEM.
func certificate(t *testing.T, public, private any, change func(*x509.Certificate)) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "c"}, DNSNames: []string{"a.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(template)
	}
	return block("CERTIFICATE", must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, public, private)))
}

func asCA(c *x509.Certificate) {
	c.BasicConstraintsValid, c.IsCA, c.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(curve, rand.Reader))
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	return block("PRIVATE KEY", must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key)))
}

func TestKeyPair(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	cert := certificate(t, key.Public(), key, nil)
	other := ecKey(t, elliptic.P384())
	small := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	large := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	old := ecKey(t, elliptic.P224())
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1 := block("EC PRIVATE KEY", must[[]byte](t)(x509.MarshalECPrivateKey(key)))
	withParameters := append(block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), sec1...)
	legacy := pem.EncodeToMemory(&pem.Block{
		Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("garbage"),
	})
	cases := []struct {
		name    string
		content map[string][]byte
		fault   string // "" is none
	}{
		{"kubernetes's keys", map[string][]byte{"tls.crt": cert, "tls.key": pkcs8(t, key)}, ""},
		{"istio's keys", map[string][]byte{"cert": cert, "key": pkcs8(t, key)}, ""},
		{"a chain", map[string][]byte{"tls.crt": append(append([]byte("subject=c\n"), cert...), certificate(t, other.Public(), other, asCA)...), "tls.key": pkcs8(t, key)}, ""},
		{"SEC 1 with parameters", map[string][]byte{"tls.crt": cert, "tls.key": withParameters}, ""},
		{"PKCS #1", map[string][]byte{"tls.crt": certificate(t, large.Public(), large, nil), "tls.key": block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(large))}, ""},
		{"no certificate", map[string][]byte{"tls.key": pkcs8(t, key)}, "has no certificate; put one under tls.crt or cert"},
		{"no key", map[string][]byte{"tls.crt": cert, "tls.key": []byte(" \n")}, "has no private key; put one under tls.key or key"},
		{"not PEM", map[string][]byte{"tls.crt": []byte("hello"), "tls.key": pkcs8(t, key)}, "under tls.crt has no certificate in PEM"},
		{"a broken certificate", map[string][]byte{"cert": block("CERTIFICATE", []byte("garbage")), "key": pkcs8(t, key)}, "certificate 1 under cert cannot be read"},
		{"a broken key", map[string][]byte{"cert": cert, "key": block("PRIVATE KEY", []byte("secret"))}, "under key cannot be read"},
		{"two keys", map[string][]byte{"cert": cert, "key": append(pkcs8(t, key), pkcs8(t, other)...)}, "has 2 private keys"},
		{"another key", map[string][]byte{"tls.crt": cert, "tls.key": pkcs8(t, other)}, "does not belong to the first certificate under tls.crt"},
		{"encrypted", map[string][]byte{"tls.crt": cert, "tls.key": block("ENCRYPTED PRIVATE KEY", []byte("garbage"))}, "is encrypted"},
		{"encrypted as in old times", map[string][]byte{"tls.crt": cert, "tls.key": legacy}, "is encrypted"},
		{"a small RSA key", map[string][]byte{"tls.crt": certificate(t, small.Public(), small, nil), "tls.key": pkcs8(t, small)}, "has 1024 bits"},
		{"a small curve", map[string][]byte{"tls.crt": certificate(t, old.Public(), old, nil), "tls.key": pkcs8(t, old)}, "P-224"},
		{"Ed25519", map[string][]byte{"tls.crt": certificate(t, edPublic, edPrivate, nil), "tls.key": pkcs8(t, edPrivate)}, "neither RSA nor ECDSA"},
	}
	var good []*tlsv3.Secret
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			secret, err := tls.KeyPair(c.name, c.content)
			if c.fault == "" {
				if err != nil {
					t.Fatal(err)
				}
				if again := must[*tlsv3.Secret](t)(tls.KeyPair(c.name, c.content)); !proto.Equal(secret, again) {
					t.Error("the same content gave two secrets")
				}
				good = append(good, secret)
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Fatalf("got %v, want %q", err, c.fault)
			}
			for _, value := range c.content {
				if b, _ := pem.Decode(value); b != nil && strings.Contains(err.Error(), string(b.Bytes)) {
					t.Error("the error quotes the content")
				}
			}
		})
	}
	if chain := string(good[2].GetTlsCertificate().GetCertificateChain().GetInlineBytes()); strings.Contains(chain, "subject") || strings.Count(chain, "BEGIN") != 2 {
		t.Errorf("the chain is not written anew:\n%s", chain)
	}
	validate(t, good, func(s *tlsv3.Secret, common *tlsv3.CommonTlsContext) {
		common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{{Name: s.GetName()}}
	})
}

func TestAuthority(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	ca := certificate(t, key.Public(), key, asCA)
	leaf := certificate(t, key.Public(), key, nil)
	parsed, _ := pem.Decode(ca)
	issuer := must[*x509.Certificate](t)(x509.ParseCertificate(parsed.Bytes))
	crl := block("X509 CRL", must[[]byte](t)(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
	}, issuer, key)))
	cases := []struct {
		name    string
		content map[string][]byte
		fault   string
	}{
		{"kubernetes's keys", map[string][]byte{"ca.crt": ca}, ""},
		{"istio's keys", map[string][]byte{"cacert": append(append([]byte{}, ca...), ca...)}, ""},
		{"a revocation list", map[string][]byte{"ca.crt": ca, "ca.crl": crl}, ""},
		{"a revocation list as istio writes it", map[string][]byte{"cacert": ca, "crl": crl}, ""},
		{"nothing", map[string][]byte{"tls.crt": ca}, "put one under ca.crt or cacert"},
		{"a server's certificate", map[string][]byte{"ca.crt": append(append([]byte{}, ca...), leaf...)}, "certificate 2 under ca.crt is not that of an authority"},
		{"no PEM", map[string][]byte{"cacert": {1}}, "under cacert has no certificate in PEM"},
		{"a list that is none", map[string][]byte{"ca.crt": ca, "ca.crl": ca}, "under ca.crl has no revocation list in PEM"},
		{"a broken list", map[string][]byte{"ca.crt": ca, "ca.crl": block("X509 CRL", []byte{1})}, "revocation list 1 under ca.crl cannot be read"},
	}
	var good []*tlsv3.Secret
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			secret, err := tls.Authority(c.name, c.content)
			switch {
			case c.fault != "":
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("got %v, want %q", err, c.fault)
				}
			case err != nil:
				t.Fatal(err)
			default:
				good = append(good, secret)
				if wants := strings.Contains(c.name, "list"); wants != (secret.GetValidationContext().GetCrl() != nil) {
					t.Errorf("a revocation list is there or not: want %v", wants)
				}
			}
		})
	}
	validate(t, good, func(s *tlsv3.Secret, common *tlsv3.CommonTlsContext) {
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
			ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: s.GetName()},
		}
	})
}

// validate has the real Envoy read secrets, each used by a cluster.
func validate(t *testing.T, secrets []*tlsv3.Secret, use func(*tlsv3.Secret, *tlsv3.CommonTlsContext)) {
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
		t.Fatalf("%v\n%s", err, out)
	}
}
