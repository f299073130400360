package loadtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// authority signs the certificates of a world. It is for one goroutine at a time.
type authority struct {
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	serial int64
}

// certificate is what a host shows: a chain of one, and its key.
type certificate struct {
	der             []byte
	certPEM, keyPEM string
}

// leafKey is a private key, encoded once: the certificates of a world may share
// it, so that thousands of them are made quickly.
type leafKey struct {
	signer crypto.Signer
	text   string // PEM
}

func newLeafKey(signer crypto.Signer) (leafKey, error) {
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return leafKey{}, fmt.Errorf("encode a private key: %w", err)
	}
	return leafKey{signer, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))}, nil
}

// newECDSAKey returns a key of P-256.
func newECDSAKey() (leafKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return leafKey{}, fmt.Errorf("make an ECDSA key: %w", err)
	}
	return newLeafKey(key)
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of an authority: %w", err)
	}
	a := &authority{key: key}
	template := a.template("load test authority")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of an authority: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("read the certificate of an authority: %w", err)
	}
	return a, nil
}

// template returns what all certificates have in common: each has a serial number
// of its own and is good for a day.
func (a *authority) template(name string) *x509.Certificate {
	a.serial++
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
	}
}

// issue signs a new certificate for a host.
func (a *authority) issue(host string, key leafKey) (certificate, error) {
	template := a.template(host)
	template.DNSNames = []string{host}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.signer.Public(), a.key)
	if err != nil {
		return certificate{}, fmt.Errorf("sign the certificate of %s: %w", host, err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return certificate{der: der, certPEM: text, keyPEM: key.text}, nil
}
