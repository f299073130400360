package upstream

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	stringv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
)

// MachineRoots is where Debian and its kin keep the authorities that a machine
// trusts. Envoy does not look for them itself: it takes no name to verify from a
// cluster that only asks for the system's roots.
const MachineRoots = "/etc/ssl/certs/ca-certificates.crt"

// encryption returns the TLS settings of a destination, nil for plain text.
func encryption(in ClusterInput) *model.UpstreamTLS {
	t := in.Policy.TLS
	if t == nil || t.Mode != model.TLSSimple && t.Mode != model.TLSMutual || in.Port.Protocol == model.ProtocolUDP {
		return nil
	}
	return t
}

// unreachable reports whether nothing may be sent.
func unreachable(in ClusterInput) bool { return len(Problems(in)) > 0 }

// Problems returns what keeps a policy from being served safely: mutual TLS
// without a certificate to show, and TLS without any name to verify. The cluster
// of such a policy has no endpoints, so that its requests get 503. Object is
// left to the caller, who knows the policy's.
func Problems(in ClusterInput) []model.Problem {
	t := encryption(in)
	switch {
	case t == nil:
		return nil
	case t.Mode == model.TLSMutual && t.Credential == "" && (t.CertificateFile == "" || t.KeyFile == ""):
		return []model.Problem{{
			Field: t.Field, Reason: model.ReasonMissingField, Severity: model.SeverityError,
			Message: "mode MUTUAL has no certificate to show, so that nothing is sent; set credentialName, or both clientCertificate and privateKey",
		}}
	case !t.InsecureSkipVerify && !isHTTP(in.Port.Protocol) && len(names(in, t)) == 0:
		return []model.Problem{{
			Field: t.Field, Reason: model.ReasonMissingField, Severity: model.SeverityError,
			Message: fmt.Sprintf("host %s does not say which name the server's certificate has, so that nothing is sent; set sni or subjectAltNames", strconv.Quote(in.Destination.Host)),
		}}
	}
	return nil
}

// secrets returns the names of the secrets of a cluster, in order.
func secrets(in ClusterInput) []string {
	t := encryption(in)
	if t == nil || t.Credential == "" {
		return nil
	}
	var names []string
	if t.Mode == model.TLSMutual {
		names = append(names, model.SecretName(model.Credential{Namespace: in.PolicyNamespace, Name: t.Credential}, false))
	}
	if !t.InsecureSkipVerify {
		names = append(names, model.SecretName(model.Credential{Namespace: in.PolicyNamespace, Name: t.Credential}, true))
	}
	return names
}

// transportSocket wraps connections in TLS and the PROXY protocol as the policy
// says; nil sends bytes as they are.
func transportSocket(in ClusterInput) *corev3.TransportSocket {
	var inner *corev3.TransportSocket
	if t := encryption(in); t != nil && !unreachable(in) {
		inner = socket("envoy.transport_sockets.tls", tlsContext(in, t))
	}
	var version corev3.ProxyProtocolConfig_Version
	switch in.Policy.ProxyProtocol {
	case 1:
		version = corev3.ProxyProtocolConfig_V1
	case 2:
		version = corev3.ProxyProtocolConfig_V2
	default:
		return inner
	}
	if inner == nil {
		inner = socket("envoy.transport_sockets.raw_buffer", &rawv3.RawBuffer{})
	}
	return socket("envoy.transport_sockets.upstream_proxy_protocol", &proxyprotocolv3.ProxyProtocolUpstreamTransport{
		Config:          &corev3.ProxyProtocolConfig{Version: version},
		TransportSocket: inner,
	})
}

func socket(name string, config proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: name, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(config)}}
}

// tlsContext verifies the server unless the policy says otherwise. Envoy's own
// default verifies nothing and goes no higher than TLS 1.2.
func tlsContext(in ClusterInput, t *model.UpstreamTLS) *tlsv3.UpstreamTlsContext {
	common := &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2,
			TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
		},
	}
	switch {
	case !isHTTP(in.Port.Protocol) || pool(in.Policy).UseClientProtocol:
		// Envoy offers the protocol of the request; streams have none.
	case speaksHTTP2(in):
		common.AlpnProtocols = []string{"h2"}
	default:
		common.AlpnProtocols = []string{"http/1.1"}
	}
	if t.Mode == model.TLSMutual {
		if t.Credential != "" {
			common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{secret(in, false)}
		} else {
			common.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: file(t.CertificateFile), PrivateKey: file(t.KeyFile)}}
		}
	}
	if !t.InsecureSkipVerify {
		verify(common, in, t)
	}
	return &tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: serverName(in, t)}
}

// verify trusts the authorities of the policy, else those of the machine.
func verify(common *tlsv3.CommonTlsContext, in ClusterInput, t *model.UpstreamTLS) {
	v := &tlsv3.CertificateValidationContext{}
	for _, name := range names(in, t) {
		v.MatchTypedSubjectAltNames = append(v.MatchTypedSubjectAltNames, subjectAltName(name))
	}
	if t.CRLFile != "" {
		v.Crl = file(t.CRLFile)
	}
	if t.Credential != "" {
		common.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext: v, ValidationContextSdsSecretConfig: secret(in, true),
			},
		}
		return
	}
	v.TrustedCa = file(cmp.Or(t.CAFile, in.Roots, MachineRoots))
	common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
}

// serverName returns the SNI to send when the request does not decide it.
// Connections without requests, and health checks, name the service.
func serverName(in ClusterInput, t *model.UpstreamTLS) string {
	if t.SNI != "" {
		return text(t.SNI)
	}
	exact := !strings.Contains(in.Destination.Host, "*") && in.Resolution != model.ResolutionDynamic
	if exact && (!isHTTP(in.Port.Protocol) || in.HealthCheck != nil) {
		return text(in.Destination.Host)
	}
	return ""
}

// names returns the names of which the server's certificate must have one:
// those of the policy, else of the service, else the one that it was asked for.
// It is empty where every request decides, see [authorityOptions].
func names(in ClusterInput, t *model.UpstreamTLS) []string {
	switch {
	case len(t.SubjectAltNames) > 0:
		return t.SubjectAltNames
	case len(in.SubjectAltNames) > 0:
		return in.SubjectAltNames
	case t.SNI != "":
		return []string{t.SNI}
	case !isHTTP(in.Port.Protocol) && !strings.Contains(in.Destination.Host, "*"):
		return []string{in.Destination.Host}
	}
	return nil
}

// verifiesByAuthority reports whether the server's certificate must have the
// name that the request is for.
func verifiesByAuthority(in ClusterInput) bool {
	t := encryption(in)
	return t == nil || !t.InsecureSkipVerify && t.SNI == "" && len(names(in, t)) == 0
}

// authorityOptions has each request decide the SNI and the name to verify; nil
// when the policy does.
func authorityOptions(in ClusterInput) *corev3.UpstreamHttpProtocolOptions {
	t := encryption(in)
	switch {
	case t == nil && in.Resolution == model.ResolutionDynamic:
		// Envoy wants it even where nothing is encrypted.
		return &corev3.UpstreamHttpProtocolOptions{AutoSni: true, AutoSanValidation: true}
	case t == nil || t.SNI != "":
		return nil
	}
	return &corev3.UpstreamHttpProtocolOptions{AutoSni: true, AutoSanValidation: verifiesByAuthority(in)}
}

func subjectAltName(name string) *tlsv3.SubjectAltNameMatcher {
	kind := map[model.SANType]tlsv3.SubjectAltNameMatcher_SanType{
		model.SANDNS: tlsv3.SubjectAltNameMatcher_DNS, model.SANIP: tlsv3.SubjectAltNameMatcher_IP_ADDRESS,
		model.SANURI: tlsv3.SubjectAltNameMatcher_URI, model.SANEmail: tlsv3.SubjectAltNameMatcher_EMAIL,
	}[model.SANTypeOf(name)]
	return &tlsv3.SubjectAltNameMatcher{
		SanType: kind,
		Matcher: &stringv3.StringMatcher{MatchPattern: &stringv3.StringMatcher_Exact{Exact: text(name)}},
	}
}

func secret(in ClusterInput, ca bool) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: text(model.SecretName(model.Credential{Namespace: in.PolicyNamespace, Name: in.Policy.TLS.Credential}, ca)), SdsConfig: ads()}
}

func file(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: text(path)}}
}
