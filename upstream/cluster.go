// Package upstream turns destinations into Envoy clusters and endpoints.
//
// What goes in: a destination with host, subset and port, the service's port
// and endpoints, the policy in force for it ([Effective]), and the settings of
// the fleet. What comes out: one Cluster per destination, its
// ClusterLoadAssignment where endpoints come over xDS, and the problems of
// rules that say the same thing twice.
//
// This package alone decides how endpoints are found (a fixed list over EDS,
// DNS, or the name that the client asked for), how they are chosen between and
// ordered by where they run, when they are taken out of use, the limits and the
// encryption towards them; docs/defaults.md gives the reasons. Nothing here
// reads a clock, a socket, a file or a store; same input, same bytes.
package upstream

import (
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

// metadataKey is the namespace of Sluice's metadata on a cluster.
const metadataKey = "sluice"

// ClusterInput is a destination and what is known about it.
type ClusterInput struct {
	// Destination has host, subset ("" for all endpoints) and port set.
	Destination model.Destination
	Port        model.ServicePort
	Resolution  model.Resolution
	// Endpoints are read for the DNS resolutions only; other endpoints travel
	// on their own, see [Endpoints].
	Endpoints []model.Endpoint
	// Labels choose the endpoints of the subset; nil takes all.
	Labels map[string]string
	// Policy is what [Effective] returns.
	Policy model.TrafficPolicy
	// SubjectAltNames are the service's: verified where the policy names none.
	SubjectAltNames []string
	// HealthCheck is nil when the endpoints are not probed.
	HealthCheck *model.HealthCheck
	// PolicyNamespace is where the Secret lives that the policy names.
	PolicyNamespace string
	// Roots is the file, at the proxy, of the authorities that are trusted where
	// the policy names none; "" is [MachineRoots].
	Roots string
	// Proxy is where the proxy runs; zero if unknown. ProxyLabels are its own,
	// read for failover by label.
	Proxy       model.Locality
	ProxyLabels map[string]string
	// Settings are within the bounds that package settings enforces.
	Settings model.Settings
}

// Cluster returns the cluster of a destination, named [model.ClusterName]. How
// it finds endpoints follows from the resolution:
//
//   - STATIC and SLICES: EDS, under the cluster's own name;
//   - DNS: every address of every name is an endpoint;
//   - DNS_ROUND_ROBIN: the first name is one endpoint, whatever its addresses;
//   - DYNAMIC_DNS: the name that the client asked for, resolved by [DNSCache];
//     endpoints, health checks and load balancer of such a service are unused;
//   - NONE: EDS that never has endpoints; the answer is 503 and the caller
//     reports it, because a gateway has no original destination to fall back on.
//
// A DNS service without endpoints resolves its own host; if that is a wildcard,
// or if the subset's labels choose no endpoint, the cluster has none. Neither
// has a cluster whose policy demands mutual TLS and names no certificate: it
// must not fall back to less.
// [model.BalancingPassthrough] is treated as the default; the caller reports
// it.
func Cluster(in ClusterInput) *clusterv3.Cluster {
	name := model.ClusterName(in.Destination)
	c := &clusterv3.Cluster{
		Name:                          name,
		AltStatName:                   model.StatName(name),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(in.Settings.ClusterBufferBytes),
		IgnoreHealthOnHostRemoval:     true,
		Metadata:                      metadata(in.Destination),
		OutlierDetection:              outlier(in.Policy.Outlier),
		TransportSocket:               transportSocket(in),
	}
	limit(c, in)
	if isHTTP(in.Port.Protocol) {
		c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptions: pack(protocolOptions(in))}
	}
	balance(c, in.Policy)
	discover(c, in)
	return c
}

// isHTTP reports whether requests, not bytes, are sent to a port.
func isHTTP(p model.Protocol) bool {
	return !p.IsStream() && p != model.ProtocolTLS && p != model.ProtocolUDP
}

// Needs returns the resources without which the cluster of in stays unused, in
// order: its endpoints if they come over xDS, and the secrets that it names.
func Needs(in ClusterInput) []model.ResourceName {
	if unreachable(in) {
		return nil
	}
	var needs []model.ResourceName
	if !isDNS(in.Resolution) && in.Resolution != model.ResolutionDynamic {
		needs = append(needs, model.ResourceName{Type: model.TypeEndpoint, Name: model.ClusterName(in.Destination)})
	}
	for _, name := range secrets(in) {
		needs = append(needs, model.ResourceName{Type: model.TypeSecret, Name: name})
	}
	return needs
}

// metadata names the service behind a cluster, for access logs and dumps.
func metadata(d model.Destination) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		metadataKey: {Fields: map[string]*structpb.Value{
			"host":   structpb.NewStringValue(d.Host),
			"port":   structpb.NewNumberValue(float64(d.Port)),
			"subset": structpb.NewStringValue(d.Subset),
		}},
	}}
}

// ads is the aggregated stream, waited for without a limit: a cluster whose
// endpoints are late stays out of use instead of answering 503.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(0),
	}
}

// pack encodes m deterministically. It panics if m holds a string that is not
// UTF-8; strings from the outside go through [text] first.
func pack(m proto.Message) *anypb.Any {
	packed := new(anypb.Any)
	if err := anypb.MarshalFrom(packed, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		panic("upstream: encode " + string(m.ProtoReflect().Descriptor().FullName()) + ": " + err.Error())
	}
	return packed
}

// text returns s as UTF-8, which protobuf demands of strings.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
