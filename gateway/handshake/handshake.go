// Package handshake turns how a server ends TLS into Envoy's downstream TLS
// contexts: what a client is shown, and what it must show to come in.
//
// What goes in: a [model.ServerTLS] whose values are valid, and the names under
// which certificates, authorities and session tickets are served. What comes out:
// a context that holds names only, no key. This package alone decides the default
// versions, cipher suites and curves, and which sessions may be resumed. Same
// input, same context.
package handshake

import (
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

// secretTimeout is how long a listener that opens waits for a secret. It is
// bounded because a single one that does not come would keep the whole port
// closed: after it, only the chains that lack theirs refuse connections.
const secretTimeout = 5 * time.Second

// Input is what one host shows and asks for.
type Input struct {
	TLS *model.ServerTLS
	// ALPN are the protocols inside, the preferred one first.
	ALPN []string
	// Certificates are names of secrets; see [model.SecretName].
	Certificates []string
	// Authorities names the secret of those who sign clients' certificates; ""
	// when there is none.
	Authorities string
	// Tickets takes the keys of session tickets from [model.SecretTickets].
	Tickets bool
}

// Servable reports whether in has what its mode needs: a certificate, and in the
// mutual modes something to hold a client's against. Without it a context would
// take any client, or Envoy would refuse the listener with all that is on it.
func Servable(in Input) bool {
	if len(in.Certificates) == 0 {
		return false
	}
	t := in.TLS
	if t.Mode == model.ServerTLSSimple || in.Authorities != "" {
		return true
	}
	// Names say nothing in a certificate that anybody may have signed.
	return len(t.SubjectAltNames) == 0 && (t.InsecureSkipVerify || pinned(t))
}

// pinned reports whether clients are known by their key or certificate.
func pinned(t *model.ServerTLS) bool { return len(t.SPKI)+len(t.Hashes) > 0 }

// pinnedOnly reports whether the pins are all that counts. Envoy, told to accept
// what nobody it trusts has signed, looks at no pin any more; without authorities
// it looks at nothing else. Names are then those of a certificate that anybody may
// have signed, and are not looked at either.
func pinnedOnly(t *model.ServerTLS) bool { return t.InsecureSkipVerify && pinned(t) }

// authorities names the secret of those who sign clients' certificates; "" where
// they do not count.
func authorities(in Input) string {
	if in.TLS.Mode == model.ServerTLSSimple || pinnedOnly(in.TLS) {
		return ""
	}
	return in.Authorities
}

// Unenforced reports whether the context of in asks for a certificate, and lets a
// client in that has none although its mode is MUTUAL: so Envoy does if it accepts
// what nobody it trusts has signed, and trusts nobody. The filters behind must
// refuse such a client.
func Unenforced(in Input) bool {
	return in.TLS.Mode == model.ServerTLSMutual && in.TLS.InsecureSkipVerify && in.Authorities == "" && !pinned(in.TLS)
}

// Context returns the context of a host with certificates of its own.
//
// A session is resumed wherever the keys of tickets, the server name, certificate
// and authorities are the same, even if it began where a client need not show a
// certificate and goes on where it must. A host of a mutual mode therefore keeps
// the keys that Envoy makes for each context.
func Context(in Input) *tlsv3.DownstreamTlsContext {
	common := commonContext(in.TLS, in.ALPN)
	for _, name := range in.Certificates {
		common.TlsCertificateSdsSecretConfigs = append(common.TlsCertificateSdsSecretConfigs, secret(name))
	}
	out := &tlsv3.DownstreamTlsContext{CommonTlsContext: common, OcspStaplePolicy: tlsv3.DownstreamTlsContext_LENIENT_STAPLING}
	if in.TLS.Mode != model.ServerTLSSimple {
		verifyClients(common, in)
		out.RequireClientCertificate = wrapperspb.Bool(in.TLS.Mode == model.ServerTLSMutual)
		return out
	}
	if in.Tickets {
		out.SessionTicketKeysType = &tlsv3.DownstreamTlsContext_SessionTicketKeysSdsSecretConfig{
			SessionTicketKeysSdsSecretConfig: secret(model.SecretTickets),
		}
	}
	return out
}

// Secrets returns the names of the secrets that [Context] asks for.
func Secrets(in Input) []string {
	out := slices.Clone(in.Certificates)
	if name := authorities(in); name != "" {
		out = append(out, name)
	}
	if in.TLS.Mode == model.ServerTLSSimple && in.Tickets {
		out = append(out, model.SecretTickets)
	}
	return out
}

func commonContext(t *model.ServerTLS, alpn []string) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{TlsParams: parameters(t), AlpnProtocols: alpn}
}

// verifyClients holds the certificates of clients against the authorities and
// the pins.
func verifyClients(common *tlsv3.CommonTlsContext, in Input) {
	v := &tlsv3.CertificateValidationContext{
		VerifyCertificateSpki: in.TLS.SPKI,
		VerifyCertificateHash: in.TLS.Hashes,
	}
	if pinnedOnly(in.TLS) {
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
		return
	}
	for _, name := range in.TLS.SubjectAltNames {
		v.MatchTypedSubjectAltNames = append(v.MatchTypedSubjectAltNames, subjectAltName(name))
	}
	if in.TLS.InsecureSkipVerify {
		v.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
	}
	if in.Authorities == "" {
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
		return
	}
	common.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext: v, ValidationContextSdsSecretConfig: secret(in.Authorities),
		},
	}
}

// subjectAltName matches name exactly, as the kind of name that it looks like.
func subjectAltName(name string) *tlsv3.SubjectAltNameMatcher {
	kind := map[model.SANType]tlsv3.SubjectAltNameMatcher_SanType{
		model.SANDNS: tlsv3.SubjectAltNameMatcher_DNS, model.SANIP: tlsv3.SubjectAltNameMatcher_IP_ADDRESS,
		model.SANURI: tlsv3.SubjectAltNameMatcher_URI, model.SANEmail: tlsv3.SubjectAltNameMatcher_EMAIL,
	}[model.SANTypeOf(name)]
	return &tlsv3.SubjectAltNameMatcher{
		SanType: kind,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name}},
	}
}

// secret takes a secret by name from the aggregated stream.
func secret(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: ads(durationpb.New(secretTimeout))}
}

// ads is the aggregated stream; a nil limit leaves the wait for a first answer to
// Envoy.
func ads(limit *durationpb.Duration) *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   limit,
	}
}
