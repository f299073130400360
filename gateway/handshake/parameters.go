package handshake

import (
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/sluicegw/sluice/model"
)

// parameters returns versions, cipher suites and curves. The defaults are TLS 1.2
// and 1.3, suites with forward secrecy and authenticated encryption, and first of
// the curves a hybrid one that a quantum computer does not break.
//
// Source: RFC 9325 sections 3.1.1 and 4.2; docs/tls.md.
func parameters(t *model.ServerTLS) *tlsv3.TlsParameters {
	low, high := protocol(t.MinVersion), protocol(t.MaxVersion)
	if high == tlsv3.TlsParameters_TLS_AUTO {
		high = tlsv3.TlsParameters_TLSv1_3
	}
	if low == tlsv3.TlsParameters_TLS_AUTO {
		low = min(tlsv3.TlsParameters_TLSv1_2, high)
	}
	suites := t.CipherSuites
	if len(suites) == 0 {
		suites = cipherSuites(low)
	}
	return &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: low,
		TlsMaximumProtocolVersion: high,
		CipherSuites:              suites,
		EcdhCurves:                []string{"X25519MLKEM768", "X25519", "P-256"},
		SignatureAlgorithms:       signatureAlgorithms(),
	}
}

// signatureAlgorithms returns those of TLS 1.2 and 1.3, for the keys that Envoy
// serves. SHA-1, which Envoy takes by default, is not among them.
//
// Source: RFC 9155 section 4.
func signatureAlgorithms() []string {
	return []string{
		"ecdsa_secp256r1_sha256", "rsa_pss_rsae_sha256", "rsa_pkcs1_sha256",
		"ecdsa_secp384r1_sha384", "rsa_pss_rsae_sha384", "rsa_pkcs1_sha384",
		"ecdsa_secp521r1_sha512", "rsa_pss_rsae_sha512", "rsa_pkcs1_sha512",
	}
}

func protocol(v model.TLSVersion) tlsv3.TlsParameters_TlsProtocol {
	switch v {
	case model.TLS10:
		return tlsv3.TlsParameters_TLSv1_0
	case model.TLS11:
		return tlsv3.TlsParameters_TLSv1_1
	case model.TLS12:
		return tlsv3.TlsParameters_TLSv1_2
	case model.TLS13:
		return tlsv3.TlsParameters_TLSv1_3
	default:
		return tlsv3.TlsParameters_TLS_AUTO
	}
}

// cipherSuites returns the suites for versions from low to 1.2. Those of 1.3 are
// not for choosing. Bars join suites of equal rank, of which the client picks: one
// without AES in hardware is faster with ChaCha20. Versions before 1.2 know none
// of the modern suites; who asks for them gets the least bad of the old.
func cipherSuites(low tlsv3.TlsParameters_TlsProtocol) []string {
	suites := []string{
		"[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
		"[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
		"ECDHE-ECDSA-AES256-GCM-SHA384",
		"ECDHE-RSA-AES256-GCM-SHA384",
	}
	if low < tlsv3.TlsParameters_TLSv1_2 {
		suites = append(suites, "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA")
	}
	return suites
}
