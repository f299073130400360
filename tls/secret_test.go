package tls_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/sluicegw/sluice/tls"
)

func TestAuthority(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	ca := certificate(t, key, asCA)
	leaf := certificate(t, key, nil)
	crl := block("X509 CRL", must[[]byte](t)(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
	}, parsed(t, ca), key)))
	cases := []struct {
		name    string
		content map[string][]byte
		fault   string
	}{
		{"kubernetes's keys", map[string][]byte{"ca.crt": ca}, ""},
		{"istio's keys", map[string][]byte{"cacert": join(ca, ca)}, ""},
		{"a revocation list", map[string][]byte{"ca.crt": ca, "ca.crl": crl}, ""},
		{"a revocation list as istio writes it", map[string][]byte{"cacert": ca, "crl": crl}, ""},
		{"nothing", map[string][]byte{"tls.crt": ca}, "put one under ca.crt or cacert"},
		{"a server's certificate", map[string][]byte{"ca.crt": join(ca, leaf)}, "certificate 2 under ca.crt is not that of an authority"},
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
	good = append(good, must[*tlsv3.Secret](t)(tls.AuthorityPEM("files", ca, crl)), must[*tlsv3.Secret](t)(tls.AuthorityPEM("file", ca, nil)))
	if err := validate(t, good, asAuthority); err != nil {
		t.Fatal(err)
	}
}

func TestAuthorityPEM(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	ca := certificate(t, key, asCA)
	for _, c := range []struct {
		name    string
		ca, crl []byte
		fault   string
	}{
		{"empty", nil, nil, "the authority file is empty"},
		{"an empty list", ca, []byte{}, "the revocation list file is empty"},
		{"a server's certificate", certificate(t, key, nil), nil, "certificate 1 in the authority file is not that of an authority"},
		{"no PEM", []byte("x"), nil, "the authority file has no certificate in PEM"},
		{"no list", ca, ca, "the revocation list file has no revocation list in PEM"},
		{"a broken list", ca, block("X509 CRL", nil), "revocation list 1 in the revocation list file cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := tls.AuthorityPEM("x", c.ca, c.crl); err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got %v, want %q", err, c.fault)
			}
		})
	}
}

func TestTickets(t *testing.T) {
	keys := [][]byte{bytes.Repeat([]byte{1}, 80), bytes.Repeat([]byte{2}, 80)}
	secret := tls.Tickets("sluice/tickets", keys)
	got := secret.GetSessionTicketKeys().GetKeys()
	if secret.GetName() != "sluice/tickets" || len(got) != 2 || !bytes.Equal(got[0].GetInlineBytes(), keys[0]) || !bytes.Equal(got[1].GetInlineBytes(), keys[1]) {
		t.Errorf("%d keys in %q, in another order or changed", len(got), secret.GetName())
	}
	if err := secret.ValidateAll(); err != nil {
		t.Error(err)
	}
}
