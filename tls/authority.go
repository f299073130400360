package tls

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// Authority returns the secret of the authorities to trust, under the key
// ca.crt or cacert of a Secret, and of their revocation list, if there is one
// under ca.crl or crl. Every certificate must be that of an authority.
func Authority(name string, content map[string][]byte) (*tlsv3.Secret, error) {
	ca := pick(content, "ca.crt", "cacert")
	if ca.empty() {
		return nil, errors.New("the Secret has no certificate of an authority; put one under ca.crt or cacert")
	}
	return authority(name, ca, pick(content, "ca.crl", "crl"))
}

// AuthorityPEM is [Authority] for the content of files; crlPEM is nil when no
// file with a revocation list is named.
func AuthorityPEM(name string, caPEM, crlPEM []byte) (*tlsv3.Secret, error) {
	ca, crl := fromFile("authority", caPEM), fromFile("revocation list", crlPEM)
	switch {
	case ca.empty():
		return nil, errors.New("the authority file is empty; put the certificate of the authority in it")
	case crlPEM != nil && crl.empty():
		return nil, errors.New("the revocation list file is empty; put a list in it or do not name it")
	}
	return authority(name, ca, crl)
}

func authority(name string, ca, crl source) (*tlsv3.Secret, error) {
	authorities, err := certificates(ca)
	if err != nil {
		return nil, err
	}
	for i, c := range authorities {
		if !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
			return nil, fmt.Errorf("certificate %d %s is not that of an authority: it may not sign certificates; replace it by that of the authority that signed it", i+1, ca.at)
		}
	}
	v := &tlsv3.CertificateValidationContext{TrustedCa: inline(encode(authorities))}
	if !crl.empty() {
		lists, err := revocations(crl)
		if err != nil {
			return nil, err
		}
		v.Crl = inline(lists)
	}
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: v}}, nil
}

func revocations(s source) ([]byte, error) {
	found := blocks(s.text, func(kind string) bool { return kind == blockCRL })
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no revocation list in PEM; it starts with -----BEGIN X509 CRL-----", s.value)
	}
	var out bytes.Buffer
	for i, b := range found {
		if _, err := x509.ParseRevocationList(b.Bytes); err != nil {
			return nil, fmt.Errorf("revocation list %d %s cannot be read; export it again", i+1, s.at)
		}
		out.Write(pem.EncodeToMemory(&pem.Block{Type: blockCRL, Bytes: b.Bytes}))
	}
	return out.Bytes(), nil
}
