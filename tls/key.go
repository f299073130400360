package tls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
)

// The RSA keys that Envoy takes, in bits.
const (
	smallestRSA = 2048
	largestRSA  = 16384
)

// privateKey returns the only private key of a text, and its PKCS #8 in PEM.
func privateKey(s source) (crypto.Signer, []byte, error) {
	found := blocks(s.text, func(kind string) bool { return strings.HasSuffix(kind, blockKey) })
	if len(found) != 1 {
		return nil, nil, fmt.Errorf("%s has %d private keys in PEM; it needs one", s.value, len(found))
	}
	if found[0].Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(found[0].Headers["Proc-Type"], "ENCRYPTED") {
		return nil, nil, fmt.Errorf("the private key %s is encrypted; store it without a passphrase", s.at)
	}
	parsed, ok := parseKey(found[0].Bytes)
	if !ok {
		return nil, nil, fmt.Errorf("the private key %s cannot be read; store it as PKCS #8, PKCS #1 or SEC 1 in PEM", s.at)
	}
	var signer crypto.Signer
	switch k := parsed.(type) {
	case *rsa.PrivateKey:
		signer = k
		switch {
		case k.N.BitLen() < smallestRSA || k.N.BitLen() > largestRSA:
			return nil, nil, fmt.Errorf("the RSA key %s has %d bits; Envoy takes %d to %d", s.at, k.N.BitLen(), smallestRSA, largestRSA)
		case len(k.Primes) != 2:
			return nil, nil, fmt.Errorf("the RSA key %s has %d primes; Envoy takes two", s.at, len(k.Primes))
		}
	case *ecdsa.PrivateKey:
		signer = k
		if k.Curve == elliptic.P224() {
			return nil, nil, fmt.Errorf("the ECDSA key %s is on the curve P-224; Envoy takes P-256, P-384 and P-521", s.at)
		}
	default:
		return nil, nil, fmt.Errorf("the private key %s is neither RSA nor ECDSA; Envoy serves no other", s.at)
	}
	der, err := x509.MarshalPKCS8PrivateKey(parsed)
	if err != nil {
		return nil, nil, fmt.Errorf("the private key %s cannot be written as PKCS #8; create a new one", s.at)
	}
	return signer, pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: der}), nil
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
