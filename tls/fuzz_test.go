package tls_test

import (
	stdtls "crypto/tls"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/sluicegw/sluice/tls"
)

// Whatever a Secret holds, it gives an error that shows no key, or a pair that
// another implementation takes and that reads the same again.
func FuzzParseCertificate(f *testing.F) {
	bad, _ := badContents(f)
	for _, c := range append(goodContents(f), bad...) {
		f.Add(join(c.content["tls.crt"], c.content["cert"]), join(c.content["tls.key"], c.content["key"]), c.content["tls.ocsp-staple"])
	}
	f.Fuzz(func(t *testing.T, cert, key, staple []byte) {
		c, err := tls.ParseCertificate(map[string][]byte{"tls.crt": cert, "tls.key": key, "tls.ocsp-staple": staple})
		if err != nil {
			if found := shows(err.Error(), decoded(key)...); found != "" {
				t.Fatalf("%q is in %v", found, err)
			}
			return
		}
		v := c.Secret("x", nil).GetTlsCertificate()
		if _, err := stdtls.X509KeyPair(v.GetCertificateChain().GetInlineBytes(), v.GetPrivateKey().GetInlineBytes()); err != nil {
			t.Fatal(err)
		}
		again, err := tls.ParseCertificate(map[string][]byte{
			"cert": v.GetCertificateChain().GetInlineBytes(), "key": v.GetPrivateKey().GetInlineBytes(), "tls.ocsp-staple": v.GetOcspStaple().GetInlineBytes(),
		})
		if err != nil || !again.Equal(c) {
			t.Fatalf("what was written reads as %v, %v", again, err)
		}
		_ = []any{c.Names(), c.Covers("a.example.com"), c.Responder(), c.MustStaple(), c.Issuer(), c.String()}
	})
}

// Whatever a Secret holds for an authority, what was written reads the same.
func FuzzAuthority(f *testing.F) {
	ca := newAuthority(f)
	f.Add(ca.pem, []byte(nil))
	f.Add(join(ca.pem, ca.pem), ca.pem)
	f.Add(pkcs8(f, ca.key), block("X509 CRL", []byte{0x30, 0}))
	f.Fuzz(func(t *testing.T, caPEM, crl []byte) {
		s, err := tls.Authority("x", map[string][]byte{"ca.crt": caPEM, "ca.crl": crl})
		if err != nil {
			if found := shows(err.Error(), decoded(caPEM)...); found != "" {
				t.Fatalf("%q is in %v", found, err)
			}
			return
		}
		v := s.GetValidationContext()
		again, err := tls.AuthorityPEM("x", v.GetTrustedCa().GetInlineBytes(), v.GetCrl().GetInlineBytes())
		if err != nil || again.String() != s.String() {
			t.Fatalf("what was written reads as %v, %v", again, err)
		}
	})
}

// decoded returns the content of the private keys in PEM of a text. All else in
// it may hold words that errors have too.
func decoded(text []byte) (out [][]byte) {
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			return out
		}
		if strings.Contains(b.Type, "KEY") {
			out = append(out, b.Bytes)
		}
	}
}
