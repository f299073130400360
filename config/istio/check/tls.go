package check

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/config/istio/strict"
)

// Credential returns the name of a Secret in the namespace of the object that
// names it: "name", "kubernetes://name" or "kubernetes://namespace/name" with
// its own namespace.
func Credential(written, namespace string) (string, *strict.Finding) {
	name, kubernetes := strings.CutPrefix(written, "kubernetes://")
	if kubernetes {
		if other, rest, both := strings.Cut(name, "/"); both {
			if other != namespace {
				return "", strict.NotYet("%s is in another namespace, which is not supported; copy the Secret to namespace %s and write its name alone",
					strict.Quote(written), strict.Quote(namespace))
			}
			name = rest
		}
	} else if scheme, _, both := strings.Cut(written, "://"); both {
		return "", strict.NotYet("credentials from %s are not supported yet; write the name of a Secret", strict.Quote(scheme+"://"))
	}
	if len(name) > 253 || slices.ContainsFunc(strings.Split(name, "."), func(part string) bool { return !IsLabel(strings.ToLower(part)) }) {
		return "", strict.Invalid("%s is no name of a Secret of the gateway's namespace; correct it", strict.Quote(written))
	}
	return name, nil
}

// KeyDigest returns the SHA-256 digest of a public key (SPKI) in padded base64,
// 44 letters, as Envoy takes it; either alphabet goes in, with or without padding.
func KeyDigest(s string) (string, *strict.Finding) {
	plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	digest, err := base64.RawStdEncoding.Strict().DecodeString(plain)
	if err != nil || len(digest) != 32 || strings.ContainsAny(s, "\r\n") {
		return "", strict.Invalid("%s is no SHA-256 digest in base64; write its 44 letters, the last of them an equals sign", strict.Quote(s))
	}
	return base64.StdEncoding.EncodeToString(digest), nil
}

// CertificateDigest returns the SHA-256 digest of a certificate in lower-case
// hexadecimal, 64 digits; colons between the bytes go in too.
func CertificateDigest(s string) (string, *strict.Finding) {
	plain := s
	if len(s) == 95 { // 32 pairs and the colons between them
		var b strings.Builder
		for pair := range strings.SplitSeq(s, ":") {
			if len(pair) == 2 {
				b.WriteString(pair)
			}
		}
		plain = b.String()
	}
	digest, err := hex.DecodeString(plain)
	if err != nil || len(digest) != 32 {
		return "", strict.Invalid("%s is no SHA-256 digest in hexadecimal; write its 64 digits, or 32 pairs of them with colons between", strict.Quote(s))
	}
	return hex.EncodeToString(digest), nil
}

// IsCipherSuite reports whether a suite for TLS up to 1.2 exists: those of
// Istio's API, and two more that Envoy 1.40 takes. Envoy refuses a whole listener
// for any other.
func IsCipherSuite(name string) bool {
	return slices.Contains(append(cipherSuites(), olderCipherSuites()...), name)
}

// IsOlderCipherSuite reports whether TLS 1.0 and 1.1 know the suite.
func IsOlderCipherSuite(name string) bool { return slices.Contains(olderCipherSuites(), name) }

func cipherSuites() []string {
	return []string{
		"ECDHE-ECDSA-AES128-GCM-SHA256",
		"ECDHE-RSA-AES128-GCM-SHA256",
		"ECDHE-ECDSA-AES256-GCM-SHA384",
		"ECDHE-RSA-AES256-GCM-SHA384",
		"ECDHE-ECDSA-CHACHA20-POLY1305",
		"ECDHE-RSA-CHACHA20-POLY1305",
		"ECDHE-ECDSA-AES128-SHA256",
		"ECDHE-RSA-AES128-SHA256",
		"AES128-GCM-SHA256",
		"AES256-GCM-SHA384",
	}
}

func olderCipherSuites() []string {
	return []string{
		"ECDHE-ECDSA-AES128-SHA",
		"ECDHE-RSA-AES128-SHA",
		"ECDHE-ECDSA-AES256-SHA",
		"ECDHE-RSA-AES256-SHA",
		"AES128-SHA",
		"AES256-SHA",
		"DES-CBC3-SHA",
	}
}
