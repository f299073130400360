package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority issues certificates for tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string // of its files
	file string // its own certificate
	next int64
}

// leaf is a certificate with its key, in memory and in files.
type leaf struct {
	tls.Certificate
	certPEM, keyPEM   string
	certFile, keyFile string
	serial            *big.Int
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), key: newKey(t), next: 1}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = a.save("ca.pem", "CERTIFICATE", der)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// save writes a PEM file and returns its path.
func (a *authority) save(name, kind string, der []byte) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// order is what a certificate is to be like.
type order struct {
	names       []string // DNS names; the first is the common name
	rsa         bool     // the kind of key, else ECDSA
	from, until time.Time
	responder   string // URL of an OCSP responder
	mustStaple  bool
}

// issue makes a certificate for DNS names; the first is the common name.
func (a *authority) issue(names ...string) leaf {
	a.t.Helper()
	return a.sign(order{names: names})
}

// sign makes a certificate; without times it is good for an hour before and
// after now.
func (a *authority) sign(o order) leaf {
	a.t.Helper()
	if o.from.IsZero() {
		o.from, o.until = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	a.next++
	var key crypto.Signer = newKey(a.t)
	if o.rsa {
		key = newRSAKey(a.t)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: o.names[0]}, DNSNames: o.names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore: o.from, NotAfter: o.until,
	}
	if o.responder != "" {
		template.OCSPServer = []string{o.responder}
	}
	if o.mustStaple { // RFC 7633: a sequence of one integer, status_request
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	out := leaf{Certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, serial: template.SerialNumber}
	file := strings.ReplaceAll(o.names[0], "*", "any")
	out.certFile = a.save(file+".pem", "CERTIFICATE", der)
	out.keyFile = a.save(file+".key", "PRIVATE KEY", keyDER)
	out.certPEM, out.keyPEM = a.text(out.certFile), a.text(out.keyFile)
	return out
}

func newRSAKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// encryptedKey is the key of l as `openssl` writes it with a passphrase.
func (l leaf) encryptedKey(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("openssl", "pkcs8", "-topk8", "-in", l.keyFile, "-passout", "pass:word").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// digest is the SHA-256 of the certificate in hexadecimal, pin that of its key in
// base64.
func (l leaf) digest() string {
	sum := sha256.Sum256(l.Certificate.Certificate[0])
	return hex.EncodeToString(sum[:])
}

func (l leaf) pin(t testing.TB) string {
	t.Helper()
	cert, err := x509.ParseCertificate(l.Certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// secret is a Secret of kubernetes.io/tls, with more entries.
func (l leaf) secret(name string, more ...string) string {
	entries := map[string]string{"tls.crt": l.certPEM, "tls.key": l.keyPEM}
	for i := 0; i+1 < len(more); i += 2 {
		entries[more[i]] = more[i+1]
	}
	return secret(name, entries)
}

// revoke returns the file of a list with one certificate.
func (a *authority) revoke(l leaf) string {
	a.t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: l.serial, RevocationTime: time.Now().Add(-time.Minute)}},
	}, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.save("crl.pem", "X509 CRL", der)
}

func (a *authority) text(path string) string {
	a.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(b)
}

// pool trusts the authority.
func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// secret is a Secret of PEM texts by key.
func secret(name string, entries map[string]string) string {
	out := "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + "}\nstringData:\n"
	for key, value := range entries {
		out += "  " + key + ": |\n    " + strings.ReplaceAll(strings.TrimSpace(value), "\n", "\n    ") + "\n"
	}
	return out
}

// secureOrigin is an HTTPS server that answers with its name, the server name
// that it was asked for and the name of the client's certificate.
func secureOrigin(t testing.TB, name string, config *tls.Config) *origin {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			client = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		_, _ = w.Write([]byte(name + " sni=" + r.TLS.ServerName + " client=" + client + " proto=" + r.Proto + "\n"))
	})}
	done := make(chan struct{})
	go func() {
		_ = s.Serve(l)
		close(done)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return &origin{name: name, port: portOf(l.Addr())}
}
