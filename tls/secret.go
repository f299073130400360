// Package tls turns the content of Secret objects into Envoy secrets.
//
// What goes in: a resource name and the keys and values of a Secret, as Istio
// reads them. What comes out: a key pair or a set of authorities with their
// revocation list, decoded, checked and written anew, so that Envoy gets
// nothing that it would refuse and nothing that does not belong there; or an
// error that tells the Secret's author what to do. No error holds a part of a
// key. Nothing here reads a clock or a file; same input, same bytes.
package tls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// The types of PEM blocks.
const (
	blockCertificate = "CERTIFICATE"
	blockCRL         = "X509 CRL"
	blockKey         = "PRIVATE KEY"
)

// smallestRSA is the number of bits below which Envoy refuses an RSA key.
const smallestRSA = 2048

// KeyPair returns the secret of a certificate chain and its private key, under
// the keys tls.crt and tls.key, or cert and key. The key is unencrypted, RSA
// from 2048 bits or ECDSA on P-256, P-384 or P-521, which is what Envoy takes,
// and belongs to the first certificate.
func KeyPair(name string, content map[string][]byte) (*tlsv3.Secret, error) {
	certKey, certPEM := pick(content, "tls.crt", "cert")
	keyKey, keyPEM := pick(content, "tls.key", "key")
	switch {
	case len(certPEM) == 0:
		return nil, errors.New("the Secret has no certificate; put one under tls.crt or cert")
	case len(keyPEM) == 0:
		return nil, errors.New("the Secret has no private key; put one under tls.key or key")
	}
	chain, err := certificates(certKey, certPEM)
	if err != nil {
		return nil, err
	}
	key, err := privateKey(keyKey, keyPEM)
	if err != nil {
		return nil, err
	}
	chainPEM := encode(chain)
	if _, err := stdtls.X509KeyPair(chainPEM, key); err != nil {
		// The cause is not passed on: it could quote what it was given.
		return nil, fmt.Errorf("the private key under %s does not belong to the first certificate under %s; put the server's own certificate first and its key beside it", keyKey, certKey)
	}
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inline(chainPEM), PrivateKey: inline(key),
	}}}, nil
}

// Authority returns the secret of the authorities to trust, under the key
// ca.crt or cacert, and of their revocation list, if there is one under ca.crl
// or crl. Every certificate must be that of an authority.
func Authority(name string, content map[string][]byte) (*tlsv3.Secret, error) {
	caKey, caPEM := pick(content, "ca.crt", "cacert")
	if len(caPEM) == 0 {
		return nil, errors.New("the Secret has no certificate of an authority; put one under ca.crt or cacert")
	}
	authorities, err := certificates(caKey, caPEM)
	if err != nil {
		return nil, err
	}
	for i, c := range authorities {
		if !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
			return nil, fmt.Errorf("certificate %d under %s is not that of an authority: it may not sign certificates; replace it by that of the authority that signed it", i+1, caKey)
		}
	}
	v := &tlsv3.CertificateValidationContext{TrustedCa: inline(encode(authorities))}
	if crlKey, crlPEM := pick(content, "ca.crl", "crl"); len(crlPEM) > 0 {
		lists, err := revocations(crlKey, crlPEM)
		if err != nil {
			return nil, err
		}
		v.Crl = inline(lists)
	}
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: v}}, nil
}

// pick returns the first of keys with a value, and the value.
func pick(content map[string][]byte, keys ...string) (string, []byte) {
	for _, key := range keys {
		if value := content[key]; len(bytes.TrimSpace(value)) > 0 {
			return key, value
		}
	}
	return "", nil
}

// blocks returns the PEM blocks of text whose type satisfies wanted.
func blocks(text []byte, wanted func(kind string) bool) (out []*pem.Block) {
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			return out
		}
		if wanted(b.Type) {
			out = append(out, b)
		}
	}
}

func certificates(key string, text []byte) ([]*x509.Certificate, error) {
	found := blocks(text, func(kind string) bool { return kind == blockCertificate })
	if len(found) == 0 {
		return nil, fmt.Errorf("the value under %s has no certificate in PEM; it starts with -----BEGIN CERTIFICATE-----", key)
	}
	var out []*x509.Certificate
	for i, b := range found {
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d under %s cannot be read; export it again", i+1, key)
		}
		out = append(out, c)
	}
	return out, nil
}

func revocations(key string, text []byte) ([]byte, error) {
	found := blocks(text, func(kind string) bool { return kind == blockCRL })
	if len(found) == 0 {
		return nil, fmt.Errorf("the value under %s has no revocation list in PEM; it starts with -----BEGIN X509 CRL-----", key)
	}
	var out bytes.Buffer
	for i, b := range found {
		if _, err := x509.ParseRevocationList(b.Bytes); err != nil {
			return nil, fmt.Errorf("revocation list %d under %s cannot be read; export it again", i+1, key)
		}
		out.Write(pem.EncodeToMemory(&pem.Block{Type: blockCRL, Bytes: b.Bytes}))
	}
	return out.Bytes(), nil
}

// privateKey returns the only private key of text as PKCS #8 in PEM.
func privateKey(key string, text []byte) ([]byte, error) {
	found := blocks(text, func(kind string) bool { return strings.HasSuffix(kind, blockKey) })
	if len(found) != 1 {
		return nil, fmt.Errorf("the value under %s has %d private keys in PEM; it needs one", key, len(found))
	}
	if found[0].Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(found[0].Headers["Proc-Type"], "ENCRYPTED") {
		return nil, fmt.Errorf("the private key under %s is encrypted; store it without a passphrase", key)
	}
	parsed, ok := parseKey(found[0].Bytes)
	if !ok {
		return nil, fmt.Errorf("the private key under %s cannot be read; store it as PKCS #8, PKCS #1 or SEC 1 in PEM", key)
	}
	switch k := parsed.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() < smallestRSA {
			return nil, fmt.Errorf("the RSA key under %s has %d bits; Envoy takes %d or more", key, k.N.BitLen(), smallestRSA)
		}
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P224() {
			return nil, fmt.Errorf("the ECDSA key under %s is on the curve P-224; Envoy takes P-256, P-384 and P-521", key)
		}
	default:
		return nil, fmt.Errorf("the private key under %s is neither RSA nor ECDSA; Envoy takes no other", key)
	}
	der, err := x509.MarshalPKCS8PrivateKey(parsed)
	if err != nil {
		return nil, fmt.Errorf("the private key under %s cannot be written as PKCS #8; create a new one", key)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: der}), nil
}

// parseKey tries the formats in which keys are stored.
func parseKey(der []byte) (any, bool) {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return k, true
	}
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k, true
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k, true
	}
	return nil, false
}

func encode(chain []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range chain {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: c.Raw}))
	}
	return out.Bytes()
}

func inline(text []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: text}}
}
