package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	// identityLife is for how long the directory's certificate is good.
	identityLife = 30 * 24 * time.Hour
	// rootLimit bounds the root that pebble sends, in bytes.
	rootLimit = 1 << 20
	// lookPause is between two looks whether pebble answers.
	lookPause = 20 * time.Millisecond
)

// identity is the certificate by which clients know the directory.
type identity struct{ roots *x509.CertPool }

// newIdentity makes a key and a certificate for 127.0.0.1 and puts them into a
// folder.
func newIdentity(dir string) (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, fmt.Errorf("make a key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "the directory of an example"},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(identityLife),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return identity{}, fmt.Errorf("make a certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return identity{}, fmt.Errorf("make a certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return identity{}, fmt.Errorf("make a key: %w", err)
	}
	for name, block := range map[string]*pem.Block{
		directoryFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return identity{}, fmt.Errorf("write the directory's certificate: %w", err)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	return identity{roots}, nil
}

// await waits until pebble answers, and writes the root above what it signs.
func (i identity) await(ctx context.Context, o options) error {
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: i.roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}}
	tick := time.NewTicker(lookPause)
	defer tick.Stop()
	for {
		root, err := get(ctx, client, "https://"+o.management+"/roots/0")
		if err == nil {
			return writeRoot(o.dir, root)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func writeRoot(dir string, root []byte) error {
	if err := os.WriteFile(filepath.Join(dir, rootFile), root, 0o600); err != nil {
		return fmt.Errorf("write the root: %w", err)
	}
	return nil
}

// get returns the body of an answer of 200.
func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask %s: it answers %s", url, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, rootLimit))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	return body, nil
}
