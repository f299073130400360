package tls_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"net"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"golang.org/x/crypto/ocsp"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/tls"
)

// contentCase is the content of a Secret, and what is wrong with it: "" is
// nothing.
type contentCase struct {
	name    string
	content map[string][]byte
	fault   string
}

func goodContents(t testing.TB) []contentCase {
	key, large := ecKey(t, elliptic.P256()), must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	cert := certificate(t, key, nil)
	ca := newAuthority(t)
	signed := join(ca.sign(t, key, nil), ca.pem)
	good := ca.staple(t, 1, ocsp.Good)
	sec1 := block("EC PRIVATE KEY", must[[]byte](t)(x509.MarshalECPrivateKey(key)))
	withParameters := append(block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), sec1...)
	wrapped := []byte(base64.StdEncoding.EncodeToString(good))
	wrapped = join(wrapped[:64], []byte("\n"), wrapped[64:], []byte("\n"))
	return []contentCase{
		{"kubernetes's keys", map[string][]byte{"tls.crt": cert, "tls.key": pkcs8(t, key)}, ""},
		{"istio's keys", map[string][]byte{"cert": cert, "key": pkcs8(t, key)}, ""},
		{"a chain", map[string][]byte{"tls.crt": join([]byte("subject=c\n"), signed), "tls.key": pkcs8(t, key)}, ""},
		{"SEC 1 with parameters", map[string][]byte{"tls.crt": cert, "tls.key": withParameters}, ""},
		{"PKCS #1", map[string][]byte{"tls.crt": certificate(t, large, nil), "tls.key": block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(large))}, ""},
		{"a staple", map[string][]byte{"tls.crt": signed, "tls.key": pkcs8(t, key), "tls.ocsp-staple": good}, ""},
		{"a staple in base64", map[string][]byte{"tls.crt": signed, "tls.key": pkcs8(t, key), "tls.ocsp-staple": wrapped}, ""},
		{"a staple whose signer is unknown", map[string][]byte{"tls.crt": ca.sign(t, key, nil), "tls.key": pkcs8(t, key), "tls.ocsp-staple": good}, ""},
		{"an RSA key for encryption only", map[string][]byte{"tls.crt": certificate(t, large, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), "tls.key": pkcs8(t, large)}, ""},
	}
}

// badContents returns contents that cannot be served, and those of which Envoy
// itself must say so, so that nothing is refused without need.
func badContents(t testing.TB) (bad, refused []contentCase) {
	key, other, old := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384()), ecKey(t, elliptic.P224())
	cert := certificate(t, key, nil)
	small := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	//nolint:staticcheck // what is deprecated is what is refused
	three := must[*rsa.PrivateKey](t)(rsa.GenerateMultiPrimeKey(rand.Reader, 3, 2048))
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	legacy := pem.EncodeToMemory(&pem.Block{
		Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("garbage"),
	})
	ca, stranger := newAuthority(t), newAuthority(t)
	stapled := func(staple []byte) map[string][]byte {
		return map[string][]byte{"tls.crt": join(ca.sign(t, key, nil), ca.pem), "tls.key": pkcs8(t, key), "tls.ocsp-staple": staple}
	}
	bad = []contentCase{
		{"no certificate", map[string][]byte{"tls.key": pkcs8(t, key)}, "has no certificate; put one under tls.crt or cert"},
		{"no key", map[string][]byte{"tls.crt": cert, "tls.key": []byte(" \n")}, "has no private key; put one under tls.key or key"},
		{"not PEM", map[string][]byte{"tls.crt": []byte("hello"), "tls.key": pkcs8(t, key)}, "under tls.crt has no certificate in PEM"},
		{"two keys", map[string][]byte{"cert": cert, "key": join(pkcs8(t, key), pkcs8(t, other))}, "has 2 private keys"},
		{"encrypted as in old times", map[string][]byte{"tls.crt": cert, "tls.key": legacy}, "is encrypted"},
		{"Ed25519", map[string][]byte{"tls.crt": certificate(t, edwards, nil), "tls.key": pkcs8(t, edwards)}, "neither RSA nor ECDSA"},
		{"a staple that is text", stapled([]byte("good")), "is not a response with one status"},
		{"a staple that is no base64", stapled([]byte("good!")), "neither an OCSP response in DER nor one in base64"},
		{"a staple that says try later", stapled(ocsp.TryLaterErrorResponse), "is not a response with one status"},
		{"another's staple", stapled(ca.staple(t, 2, ocsp.Good)), "is for another certificate"},
		{"a stranger's staple", stapled(stranger.staple(t, 1, ocsp.Good)), "that the issuer of the certificate stands for"},
		{"a staple that says revoked", stapled(ca.staple(t, 1, ocsp.Revoked)), "says that the certificate is revoked"},
		{"a staple that says unknown", stapled(ca.staple(t, 1, ocsp.Unknown)), "does not say that the certificate is good"},
	}
	refused = []contentCase{
		{"a broken certificate", map[string][]byte{"cert": block("CERTIFICATE", []byte("garbage")), "key": pkcs8(t, key)}, "certificate 1 under cert cannot be read"},
		{"a broken key", map[string][]byte{"cert": cert, "key": block("PRIVATE KEY", []byte("secret of mine"))}, "under key cannot be read"},
		{"another key", map[string][]byte{"tls.crt": cert, "tls.key": pkcs8(t, other)}, "does not belong to the first certificate under tls.crt"},
		{"encrypted", map[string][]byte{"tls.crt": cert, "tls.key": block("ENCRYPTED PRIVATE KEY", []byte("garbage"))}, "is encrypted"},
		{"a small RSA key", map[string][]byte{"tls.crt": certificate(t, small, nil), "tls.key": pkcs8(t, small)}, "has 1024 bits"},
		{"an RSA key of three primes", map[string][]byte{"tls.crt": certificate(t, three, nil), "tls.key": pkcs8(t, three)}, "has 3 primes"},
		{"a small curve", map[string][]byte{"tls.crt": certificate(t, old, nil), "tls.key": pkcs8(t, old)}, "P-224"},
		{"an authority's own certificate", map[string][]byte{"tls.crt": certificate(t, key, asCA), "tls.key": pkcs8(t, key)}, "its key usage lacks digitalSignature"},
	}
	return append(bad, refused...), refused
}

func TestParseCertificate(t *testing.T) {
	var good []*tlsv3.Secret
	for _, c := range goodContents(t) {
		t.Run(c.name, func(t *testing.T) {
			cert := must[*tls.Certificate](t)(tls.ParseCertificate(c.content))
			again := must[*tls.Certificate](t)(tls.ParseCertificate(c.content))
			secret := cert.Secret(c.name, nil)
			if !cert.Equal(again) || !proto.Equal(secret, again.Secret(c.name, nil)) {
				t.Error("the same content gave two certificates")
			}
			chain := string(secret.GetTlsCertificate().GetCertificateChain().GetInlineBytes())
			if blocks := strings.Count(string(c.content["tls.crt"])+string(c.content["cert"]), "BEGIN"); strings.Contains(chain, "subject") || strings.Count(chain, "BEGIN") != blocks {
				t.Errorf("the chain of %d is not written anew:\n%s", blocks, chain)
			}
			_, wants := c.content["tls.ocsp-staple"]
			if staple := secret.GetTlsCertificate().GetOcspStaple(); wants != (staple != nil) || wants && staple.GetInlineBytes()[0] != 0x30 {
				t.Errorf("a staple in DER: %v, want %v", staple != nil, wants)
			}
			good = append(good, secret)
		})
	}
	if err := validate(t, good, asCertificate); err != nil {
		t.Fatal(err)
	}
}

func TestParseCertificateRefuses(t *testing.T) {
	bad, _ := badContents(t)
	for _, c := range bad {
		t.Run(c.name, func(t *testing.T) {
			if _, err := tls.ParseCertificate(c.content); err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Fatalf("got %v, want %q", err, c.fault)
			}
		})
	}
}

// What is refused on behalf of Envoy, Envoy does refuse.
func TestEnvoyRefusesTheSame(t *testing.T) {
	inline := func(b []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	_, refused := badContents(t)
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			secret := &tlsv3.Secret{Name: "x", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
				CertificateChain: inline(join(c.content["tls.crt"], c.content["cert"])), PrivateKey: inline(join(c.content["tls.key"], c.content["key"])),
			}}}
			if err := validate(t, []*tlsv3.Secret{secret}, asCertificate); err == nil {
				t.Error("Envoy takes it")
			}
		})
	}
}

func TestParsePEM(t *testing.T) {
	key, other := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	cert := certificate(t, key, nil)
	for _, c := range []struct {
		name      string
		cert, key []byte
		fault     string
	}{
		{"two files", cert, pkcs8(t, key), ""},
		{"one file with both", join(cert, pkcs8(t, key)), join(cert, pkcs8(t, key)), ""},
		{"no certificate", nil, pkcs8(t, key), "the certificate file is empty"},
		{"no key", cert, []byte("\n"), "the key file is empty"},
		{"swapped", pkcs8(t, key), cert, "the certificate file has no certificate in PEM"},
		{"a certificate for a key", cert, cert, "the key file has 0 private keys in PEM"},
		{"another key", cert, pkcs8(t, other), "the private key in the key file does not belong to the first certificate in the certificate file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := tls.ParsePEM(c.cert, c.key)
			if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("got %v, want %q", err, c.fault)
			}
		})
	}
}

func TestCertificateTells(t *testing.T) {
	ca := newAuthority(t)
	key := ecKey(t, elliptic.P256())
	mustStaple := pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: must[[]byte](t)(asn1.Marshal([]int{17, 5}))}
	leaf := ca.sign(t, key, func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{"B.example.com", "*.example.org"}, []net.IP{net.ParseIP("192.0.2.1"), net.ParseIP("2001:db8::1")}
		c.OCSPServer = []string{"ldap://x.example.com/", "http://ocsp.example.com/a"}
		c.ExtraExtensions = []pkix.Extension{mustStaple}
	})
	other := newAuthority(t)
	c := must[*tls.Certificate](t)(tls.ParsePEM(join(leaf, other.pem, ca.pem), pkcs8(t, key)))
	x := parsed(t, leaf)
	sum := sha256.Sum256(x.Raw)
	if c.ID() != hex.EncodeToString(sum[:]) || c.RSA() || !c.MustStaple() || c.Issuer() != "CN=test root" || c.Responder() != "http://ocsp.example.com/a" {
		t.Errorf("id %s, RSA %v, must staple %v, issuer %q, responder %q", c.ID(), c.RSA(), c.MustStaple(), c.Issuer(), c.Responder())
	}
	if v := c.Validity(); !v.NotBefore.Equal(x.NotBefore) || !v.NotAfter.Equal(x.NotAfter) {
		t.Errorf("validity is %v, want %v to %v", v, x.NotBefore, x.NotAfter)
	}
	if got := c.Names(); !slices.Equal(got, []string{"b.example.com", "*.example.org", "192.0.2.1", "2001:db8::1"}) {
		t.Errorf("names are %q", got)
	}
	if got := c.ChainPEM(); !bytes.Equal(got, join(leaf, other.pem, ca.pem)) {
		t.Errorf("the chain is\n%s", got)
	}
	for host, want := range map[string]bool{
		"b.example.com": true, "B.EXAMPLE.com": true, "a.example.com": false, "a.example.org": true, "a.b.example.org": false, "example.org": false,
		"*.example.org": true, "*.EXAMPLE.org": true, "*.example.com": false, "*.a.example.org": false, "*": true, "192.0.2.1": true, "192.0.2.2": false, "2001:db8::1": true, "": false,
	} {
		if got := c.Covers(host); got != want {
			t.Errorf("covers %q: %v, want %v", host, got, want)
		}
	}
	alone := must[*tls.Certificate](t)(tls.ParsePEM(join(leaf, other.pem), pkcs8(t, key)))
	if r := alone.Responder(); r != "" {
		t.Errorf("without the issuer the responder is %q", r)
	}
	plain := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	r := must[*tls.Certificate](t)(tls.ParsePEM(certificate(t, plain, func(c *x509.Certificate) { c.DNSNames = nil }), pkcs8(t, plain)))
	if !r.RSA() || r.MustStaple() || r.Responder() != "" || r.Covers("*") || r.Covers("c") {
		t.Errorf("RSA %v, must staple %v, responder %q, covers * %v, covers its common name %v", r.RSA(), r.MustStaple(), r.Responder(), r.Covers("*"), r.Covers("c"))
	}
	if staple := c.Secret("x", []byte("staple")).GetTlsCertificate().GetOcspStaple().GetInlineBytes(); string(staple) != "staple" {
		t.Errorf("the staple is %q", staple)
	}
	if c.Equal(alone) || c.Equal(nil) || (*tls.Certificate)(nil).Equal(c) || !(*tls.Certificate)(nil).Equal(nil) {
		t.Error("certificates are equal to others")
	}
}
