package tls

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/sluicegw/sluice/model"
)

// Certificate is a certificate with the chain to its root and its private key,
// checked. It is never changed. However it is printed or logged, its key does
// not show.
type Certificate struct {
	chain  []*x509.Certificate // its own first
	issuer *x509.Certificate   // who signed it, nil if not in the chain
	id     string
	// content is a func because fmt, which does not ask the methods of unexported
	// fields, follows pointers for some verbs but never calls.
	content func() *content
}

// content is what Envoy gets: all in PEM but the staple, which is DER and may
// be nil.
type content struct{ chain, key, staple []byte }

// ParseCertificate reads the certificate of a Secret under tls.crt or cert, its
// private key under tls.key or key and, if there is one, its OCSP response under
// tls.ocsp-staple, in DER or base64. The key is unencrypted, RSA from 2048 to
// 16384 bits or ECDSA on P-256, P-384 or P-521, which is what Envoy takes, and
// belongs to the first certificate.
func ParseCertificate(content map[string][]byte) (*Certificate, error) {
	cert, key := pick(content, "tls.crt", "cert"), pick(content, "tls.key", "key")
	switch {
	case cert.empty():
		return nil, errors.New("the Secret has no certificate; put one under tls.crt or cert")
	case key.empty():
		return nil, errors.New("the Secret has no private key; put one under tls.key or key")
	}
	c, err := parse(cert, key)
	if err != nil {
		return nil, err
	}
	if s := pick(content, "tls.ocsp-staple"); !s.empty() {
		if c.content().staple, err = c.parseStaple(s); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// ParsePEM is [ParseCertificate] for the content of two files.
func ParsePEM(chainPEM, keyPEM []byte) (*Certificate, error) {
	cert, key := fromFile("certificate", chainPEM), fromFile("key", keyPEM)
	switch {
	case cert.empty():
		return nil, errors.New("the certificate file is empty; put the certificate in it")
	case key.empty():
		return nil, errors.New("the key file is empty; put the private key in it")
	}
	return parse(cert, key)
}

func parse(cert, key source) (*Certificate, error) {
	chain, err := certificates(cert)
	if err != nil {
		return nil, err
	}
	signer, keyPEM, err := privateKey(key)
	if err != nil {
		return nil, err
	}
	chainPEM := encode(chain)
	if public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(chain[0].PublicKey) {
		return nil, fmt.Errorf("the private key %s does not belong to the first certificate %s; put the server's own certificate first and its key beside it", key.at, cert.at)
	}
	leaf := chain[0]
	if _, ok := leaf.PublicKey.(*ecdsa.PublicKey); ok && leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, fmt.Errorf("the first certificate %s may not sign handshakes: its key usage lacks digitalSignature; issue it anew with it", cert.at)
	}
	sum, held := sha256.Sum256(leaf.Raw), &content{chain: chainPEM, key: keyPEM}
	return &Certificate{
		chain: chain, issuer: IssuerIn(chain), id: hex.EncodeToString(sum[:]),
		content: func() *content { return held },
	}, nil
}

// IssuerIn returns the certificate of a chain that signed its first one; nil if
// it is not there.
func IssuerIn(chain []*x509.Certificate) *x509.Certificate {
	for _, c := range chain[min(1, len(chain)):] {
		if bytes.Equal(c.RawSubject, chain[0].RawIssuer) && chain[0].CheckSignatureFrom(c) == nil {
			return c
		}
	}
	return nil
}

// ResponderOf returns the first http or https URL at which the status of a
// certificate can be asked; "" if there is none.
func ResponderOf(leaf *x509.Certificate) string {
	for _, s := range leaf.OCSPServer {
		if u, err := url.Parse(s); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
			return s
		}
	}
	return ""
}

// Secret returns the secret that serves the certificate, with an OCSP response
// in DER, or its own if staple is nil, or none.
func (c *Certificate) Secret(name string, staple []byte) *tlsv3.Secret {
	held := c.content()
	if staple == nil {
		staple = held.staple
	}
	v := &tlsv3.TlsCertificate{CertificateChain: inline(held.chain), PrivateKey: inline(held.key)}
	if staple != nil {
		v.OcspStaple = inline(staple)
	}
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: v}}
}

// ID returns the lower-case hexadecimal SHA-256 digest of the certificate.
func (c *Certificate) ID() string { return c.id }

// ChainPEM returns the certificate and those between it and its root, in PEM.
func (c *Certificate) ChainPEM() []byte { return c.content().chain }

// Validity returns the time in which the certificate itself is good. Those
// above it are not asked: clients may know other ways to a root.
func (c *Certificate) Validity() model.Validity {
	return model.Validity{NotBefore: c.chain[0].NotBefore, NotAfter: c.chain[0].NotAfter}
}

// RSA reports whether the key is RSA; it is ECDSA otherwise.
func (c *Certificate) RSA() bool {
	_, ok := c.chain[0].PublicKey.(*rsa.PublicKey)
	return ok
}

// Names returns the DNS names, in lower case, and then the IP addresses for which
// the certificate is good, in its order.
func (c *Certificate) Names() []string {
	var out []string
	for _, name := range c.chain[0].DNSNames {
		out = append(out, strings.ToLower(name))
	}
	for _, ip := range c.chain[0].IPAddresses {
		out = append(out, ip.String())
	}
	return out
}

// Covers reports whether clients that ask for a host of a Gateway take the
// certificate: an exact name or an address as clients check it, "*.example.com"
// if the certificate has that very name, and "*", which promises no name, if it
// has any.
func (c *Certificate) Covers(host string) bool {
	names := c.Names()
	switch {
	case host == "*":
		return len(names) > 0
	case strings.HasPrefix(host, "*."):
		return slices.Contains(names, strings.ToLower(host))
	}
	return c.chain[0].VerifyHostname(host) == nil
}

// Issuer returns the name of who signed the certificate, as RFC 2253 writes it.
func (c *Certificate) Issuer() string { return c.chain[0].Issuer.String() }

// Responder returns the URL at which the status of the certificate can be asked
// and the answer verified; "" if it names none or the chain lacks the issuer.
func (c *Certificate) Responder() string {
	if c.issuer == nil {
		return ""
	}
	return ResponderOf(c.chain[0])
}

// MustStaple reports whether the certificate demands a staple: clients refuse it
// without one, and so does Envoy.
//
// Source: RFC 7633 section 4.2.3.1; the number is that of status_request.
func (c *Certificate) MustStaple() bool {
	const statusRequest = 5
	for _, e := range c.chain[0].Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}) {
			continue
		}
		var features []int
		rest, err := asn1.Unmarshal(e.Value, &features)
		return err == nil && len(rest) == 0 && slices.Contains(features, statusRequest)
	}
	return false
}

// Stapled reports whether an OCSP response came with the certificate.
func (c *Certificate) Stapled() bool { return c.content().staple != nil }

// Equal reports whether two certificates have the same chain, key and staple.
func (c *Certificate) Equal(o *Certificate) bool {
	if c == nil || o == nil {
		return c == o
	}
	a, b := c.content(), o.content()
	return bytes.Equal(a.chain, b.chain) && bytes.Equal(a.key, b.key) && bytes.Equal(a.staple, b.staple)
}

// String returns words for people, without any key.
func (c Certificate) String() string {
	if c.content == nil {
		return "no certificate"
	}
	return fmt.Sprintf("certificate %.16s for %s", c.id, strings.Join(c.Names(), " "))
}

// GoString is [Certificate.String], for %#v.
func (c Certificate) GoString() string { return c.String() }

// Format writes [Certificate.String] whatever the verb.
func (c Certificate) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, c.String()) // fmt has nowhere to report it
}

// LogValue is [Certificate.String], for logs.
func (c Certificate) LogValue() slog.Value { return slog.StringValue(c.String()) }
