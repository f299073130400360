package acme_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/sluicegw/sluice/tls/acme"
	"github.com/sluicegw/sluice/tls/acme/pebbletest"
)

// stock stores a certificate of a host as if an authority had issued it.
func stock(tb testing.TB, s certmagic.Storage, issuer, host string, key *ecdsa.PrivateKey) {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	for name, value := range map[string][]byte{
		certmagic.StorageKeys.SiteCert(issuer, host):       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		certmagic.StorageKeys.SitePrivateKey(issuer, host): pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		certmagic.StorageKeys.SiteMeta(issuer, host):       []byte(`{"sans":["` + host + `"],"issuer_data":{}}`),
	} {
		if err := s.Store(tb.Context(), name, value); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkLoad measures the start with a thousand stored certificates.
func BenchmarkLoad(b *testing.B) {
	const count = 1000
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	o := options(&pebbletest.Authority{Directory: "https://ca.example/dir"}, dir)
	var hosts []string
	for i := range count {
		hosts = append(hosts, fmt.Sprintf("h%d.example.com", i))
		stock(b, o.Storage, "ca.example-dir", hosts[i], key)
	}
	for b.Loop() {
		m, err := acme.New(o)
		if err != nil {
			b.Fatal(err)
		}
		if got := m.Load(b.Context(), hosts); len(got) != count {
			b.Fatalf("%d loaded", len(got))
		}
		b.StopTimer()
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		if err := m.Run(ctx); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
