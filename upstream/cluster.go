// Package upstream turns destinations into Envoy clusters and endpoints.
//
// What goes in: a destination with host, subset and port, the service's port
// and endpoints, the load balancer that its rules choose, and the settings of
// the fleet. What comes out: one Cluster per destination, its
// ClusterLoadAssignment where endpoints come over xDS, and the problems of
// rules that say the same thing twice.
//
// This package alone decides how endpoints are found (a fixed list over EDS or
// DNS), how they are chosen between, and the limits towards them;
// docs/defaults.md gives the reasons. Nothing here reads a clock, a socket or a
// store; same input, same bytes.
package upstream

import (
	"math"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	commondnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

// httpOptions is the key under which Envoy looks for the HTTP options of a
// cluster.
const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

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
	Labels       map[string]string
	LoadBalancer model.Balancing
	// Settings are within the bounds that package settings enforces.
	Settings model.Settings
}

// Cluster returns the cluster of a destination, named [model.ClusterName]. How
// it finds endpoints follows from the resolution:
//
//   - STATIC and SLICES: EDS, under the cluster's own name;
//   - DNS: every address of every name is an endpoint;
//   - DNS_ROUND_ROBIN: the first name is one endpoint, whatever its addresses;
//   - NONE: EDS that never has endpoints; the answer is 503 and the caller
//     reports it, because a gateway has no original destination to fall back on.
//
// A DNS service without endpoints resolves its own host; if that is a wildcard,
// or if the subset's labels choose no endpoint, the cluster has none.
// [model.BalancingPassthrough] is treated as the default; the caller reports
// it.
func Cluster(in ClusterInput) *clusterv3.Cluster {
	name := model.ClusterName(in.Destination)
	c := &clusterv3.Cluster{
		Name:                          name,
		AltStatName:                   model.StatName(name),
		ConnectTimeout:                durationpb.New(in.Settings.ConnectTimeout),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(in.Settings.ClusterBufferBytes),
		LbPolicy:                      lbPolicy(in.LoadBalancer),
		CircuitBreakers:               &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{unlimited()}},
		CommonLbConfig:                &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: 0}},
		IgnoreHealthOnHostRemoval:     true,
		Metadata:                      metadata(in.Destination),
	}
	if in.Port.Protocol != model.ProtocolTCP && in.Port.Protocol != model.ProtocolTLS && in.Port.Protocol != model.ProtocolUDP {
		c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptions: pack(protocolOptions(in))}
	}
	if isDNS(in.Resolution) {
		discoverByDNS(c, in)
	} else {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
		c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads(), ServiceName: name}
	}
	return c
}

// Needs returns the resources without which the cluster of in stays unused: its
// endpoints if they come over xDS.
func Needs(in ClusterInput) []model.ResourceName {
	if isDNS(in.Resolution) {
		return nil
	}
	return []model.ResourceName{{Type: model.TypeEndpoint, Name: model.ClusterName(in.Destination)}}
}

func isDNS(r model.Resolution) bool {
	return r == model.ResolutionDNS || r == model.ResolutionDNSRoundRobin
}

// discoverByDNS fills in the endpoints that the proxy resolves itself.
func discoverByDNS(c *clusterv3.Cluster, in ClusterInput) {
	endpoints := in.Endpoints
	if len(endpoints) == 0 && !strings.HasPrefix(in.Destination.Host, "*") {
		endpoints = []model.Endpoint{{Address: in.Destination.Host}}
	}
	selected := EndpointsInput{Destination: in.Destination, Port: in.Port, Endpoints: endpoints, Labels: in.Labels}
	one := in.Resolution == model.ResolutionDNSRoundRobin
	c.LoadAssignment = resolvable(selected, one)
	if len(c.LoadAssignment.GetEndpoints()) == 0 {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		return
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.cluster.dns",
		TypedConfig: pack(&dnsv3.DnsCluster{
			RespectDnsTtl: true,
			// An address of a family that the machine has no route to would
			// take its share of the requests; IPv6 is used where a name has
			// nothing else.
			DnsLookupFamily:              commondnsv3.DnsLookupFamily_V4_PREFERRED,
			AllAddressesInSingleEndpoint: one,
		}),
	}}
}

func lbPolicy(lb model.Balancing) clusterv3.Cluster_LbPolicy {
	switch lb {
	case model.BalancingRoundRobin:
		return clusterv3.Cluster_ROUND_ROBIN
	case model.BalancingRandom:
		return clusterv3.Cluster_RANDOM
	default:
		return clusterv3.Cluster_LEAST_REQUEST
	}
}

// unlimited lifts Envoy's limit of 1,024 connections, requests and waiting
// requests, and of three retries, per destination.
func unlimited() *clusterv3.CircuitBreakers_Thresholds {
	return &clusterv3.CircuitBreakers_Thresholds{
		MaxConnections:     wrapperspb.UInt32(math.MaxUint32),
		MaxPendingRequests: wrapperspb.UInt32(math.MaxUint32),
		MaxRequests:        wrapperspb.UInt32(math.MaxUint32),
		MaxRetries:         wrapperspb.UInt32(math.MaxUint32),
	}
}

// protocolOptions speaks HTTP/2 to ports that declare it, else HTTP/1.1. There
// are no HTTP/2 pings: gRPC servers close connections that ping more often than
// every five minutes.
func protocolOptions(in ClusterInput) *httpv3.HttpProtocolOptions {
	explicit := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
		},
	}
	if in.Port.Protocol.IsHTTP2() {
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
			Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
				InitialStreamWindowSize:     wrapperspb.UInt32(in.Settings.StreamWindowBytes),
				InitialConnectionWindowSize: wrapperspb.UInt32(in.Settings.ConnectionWindowBytes),
			},
		}
	}
	return &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit},
	}
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
// UTF-8; no message packed here holds a string from the outside.
func pack(m proto.Message) *anypb.Any {
	packed := new(anypb.Any)
	if err := anypb.MarshalFrom(packed, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		panic("upstream: encode " + string(m.ProtoReflect().Descriptor().FullName()) + ": " + err.Error())
	}
	return packed
}

// resolvable returns the load assignment of a DNS cluster: the endpoints whose
// address is a name or an IP address, only the first if one is set.
func resolvable(in EndpointsInput, one bool) *endpointv3.ClusterLoadAssignment {
	var kept []model.Endpoint
	for _, e := range in.Endpoints {
		if strings.HasPrefix(e.Address, unixPrefix) || !matches(e.Labels, in.Labels) || portOf(e, in.Port) == 0 || e.Address == "" {
			continue
		}
		kept = append(kept, e)
		if one {
			break
		}
	}
	in.Endpoints = kept
	return assignment(in)
}
