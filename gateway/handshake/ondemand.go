package handshake

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	snimapperv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/cert_mappers/sni/v3"
	ondemandv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/cert_selectors/on_demand_secret/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluicegw/sluice/model"
)

// OnDemand returns the context of a chain that asks for a certificate by the name
// that a client sent, or by [model.OnDemandNoName]. A handshake waits until the
// secret comes or is said not to exist. Sessions are not resumed: the certificate
// is no part of what Envoy ties them to. Clients are not verified, whatever t
// says: that belongs to chains of one host.
func OnDemand(t *model.ServerTLS, alpn []string) *tlsv3.DownstreamTlsContext {
	common := commonContext(t, alpn)
	common.CustomTlsCertificateSelector = extension("envoy.tls.certificate_selectors.on_demand_secret", &ondemandv3.Config{
		ConfigSource: ads(nil),
		CertificateMapper: extension("envoy.tls.certificate_mappers.sni", &snimapperv3.SNI{
			DefaultValue: model.OnDemandNoName,
		}),
	})
	return &tlsv3.DownstreamTlsContext{
		CommonTlsContext:                 common,
		OcspStaplePolicy:                 tlsv3.DownstreamTlsContext_LENIENT_STAPLING,
		SessionTicketKeysType:            &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{DisableStatelessSessionResumption: true},
		DisableStatefulSessionResumption: true,
	}
}

func extension(name string, config proto.Message) *corev3.TypedExtensionConfig {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(config)
	if err != nil {
		panic("handshake: encode " + name + ": " + err.Error()) // only for strings that are not UTF-8
	}
	return &corev3.TypedExtensionConfig{Name: name, TypedConfig: &anypb.Any{
		TypeUrl: "type.googleapis.com/" + string(config.ProtoReflect().Descriptor().FullName()), Value: value,
	}}
}
