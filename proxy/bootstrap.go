package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluicegw/sluice/model"
)

// xdsCluster is the static cluster of the xDS server.
const xdsCluster = "xds_cluster"

// BootstrapInput is all that a bootstrap depends on.
type BootstrapInput struct {
	// NodeID and Cluster name this proxy to the xDS server.
	NodeID, Cluster string
	// XDSSocket and AdminSocket are paths of unix sockets: where Envoy finds
	// the xDS server, and where it opens its admin interface (owner only).
	XDSSocket, AdminSocket string
	// DrainFile is the path of a file that holds 0, and 1 once the proxy drains.
	DrainFile string
	// Settings give MaxHeapBytes and MaxConnections; 0 means no limit.
	Settings model.Settings
	// Locality is where the proxy runs; zero when nobody said.
	Locality model.Locality
}

// Bootstrap returns what Envoy starts with: one delta ADS stream, the admin
// socket, the stats that are kept, the overload ladder and the runtime values.
// It is pure; same input, same message.
//
// Limits on the connections of a listener are not here: their runtime keys
// (envoy.resource_limits.listener.NAME.connection_limit) carry the whole name
// of the listener, which is known only to whoever sends it.
func Bootstrap(in BootstrapInput) *bootstrapv3.Bootstrap {
	b := &bootstrapv3.Bootstrap{
		Node: &corev3.Node{Id: in.NodeID, Cluster: in.Cluster},
		Admin: &bootstrapv3.Admin{
			Address: pipe(in.AdminSocket, 0o600),
			// Drain and health must be reachable when connections run out.
			IgnoreGlobalConnLimit: true,
			AllowPaths:            adminPaths(),
		},
		DynamicResources: dynamicResources(),
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Clusters: []*clusterv3.Cluster{xdsServer(in.XDSSocket)},
		},
		StatsConfig:         statsConfig(),
		DeferredStatOptions: &bootstrapv3.Bootstrap_DeferredStatOptions{EnableDeferredCreationStats: true},
		LayeredRuntime:      layeredRuntime(),
		OverloadManager:     overloadManager(in),
	}
	if in.Locality != (model.Locality{}) {
		locate(b, in.Locality)
	}
	return b
}

// localCluster stands for the proxies themselves: zone-aware balancing compares
// where they are with where the endpoints are.
const localCluster = "sluice_local"

// locate says where the one proxy of this machine runs.
func locate(b *bootstrapv3.Bootstrap, l model.Locality) {
	at := &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.SubZone}
	b.Node.Locality = at
	b.ClusterManager = &bootstrapv3.ClusterManager{LocalClusterName: localCluster}
	self := &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 1}, // counted, never dialed
	}}}
	b.StaticResources.Clusters = append(b.StaticResources.Clusters, &clusterv3.Cluster{
		Name:                 localCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: localCluster,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{
				Locality: at,
				LbEndpoints: []*endpointv3.LbEndpoint{{
					HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: self}},
				}},
			}},
		},
	})
}

// adminPaths are the admin pages that can be asked for. Left out are the
// profilers, which write files, and the ways to end Envoy or to change its
// runtime behind the supervisor's back.
func adminPaths() []*matcherv3.StringMatcher {
	var paths []*matcherv3.StringMatcher
	for _, p := range []string{
		"/certs", "/clusters", "/config_dump", "/drain_listeners", "/healthcheck/", "/init_dump",
		"/listeners", "/logging", "/memory", "/ready", "/reset_counters", "/runtime?", "/server_info", "/stats",
	} {
		paths = append(paths, prefix(p))
	}
	return append(paths, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "/runtime"}})
}

func dynamicResources() *bootstrapv3.Bootstrap_DynamicResources {
	ads := func() *corev3.ConfigSource {
		return &corev3.ConfigSource{
			ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			ResourceApiVersion:    corev3.ApiVersion_V3,
			// Wait for the server: it answers when it knows everything, and
			// an Envoy that gave up would open without its listeners.
			InitialFetchTimeout: durationpb.New(0),
		}
	}
	return &bootstrapv3.Bootstrap_DynamicResources{
		AdsConfig: &corev3.ApiConfigSource{
			ApiType:                   corev3.ApiConfigSource_DELTA_GRPC,
			TransportApiVersion:       corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{
				TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
					ClusterName: xdsCluster,
					// The server is on this machine: no need for Envoy's
					// half a second, growing to half a minute.
					RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
						BaseInterval: durationpb.New(50 * time.Millisecond),
						MaxInterval:  durationpb.New(time.Second),
					}},
				}},
			}},
		},
		CdsConfig: ads(),
		LdsConfig: ads(),
	}
}

// xdsServer is the cluster of the xDS server: HTTP/2 over a unix socket, with
// keep-alive pings so that a stopped server is noticed.
func xdsServer(socket string) *clusterv3.Cluster {
	options := &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
						ConnectionKeepalive: &corev3.KeepaliveSettings{
							Interval: durationpb.New(30 * time.Second),
							Timeout:  durationpb.New(10 * time.Second),
						},
					},
				},
			},
		},
	}
	return &clusterv3.Cluster{
		Name:                 xdsCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(time.Second),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(options),
		},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: xdsCluster,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{
				LbEndpoints: []*endpointv3.LbEndpoint{{
					HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
						Endpoint: &endpointv3.Endpoint{Address: pipe(socket, 0)},
					},
				}},
			}},
		},
	}
}

// statsConfig keeps what people look at, and nothing that grows with hosts,
// route tables, scopes or secrets. Names of clusters must have no dots for this
// (alt_stat_name). Each bucket of a histogram is a Prometheus series, and those
// of clusters exist for every cluster: 100 used clusters make about 1,630
// series in all, and 100 more for every further class of answers (4xx, 5xx).
func statsConfig() *metricsv3.StatsConfig {
	keep := []*matcherv3.StringMatcher{
		prefix("server."), prefix("listener_manager."), prefix("cluster_manager."), prefix("control_plane."),
		prefix("main_thread."), prefix("overload."),
		regex(`^http2[.](streams_active|pending_send_bytes)$`),
		regex(`^listener[.].*[.](downstream_(pre_)?cx_(active|total|overflow|timeout|overload_reject|transport_socket_connect_timeout)|downstream_global_cx_overflow|no_filter_chain_match|http[.].*|ssl[.](handshake|connection_error|no_certificate|fail_verify_.*))$`),
		regex(`^http[.][^.]*[.](downstream|no_route|rs_too|tracing).*`),
		regex(`^cluster[.][^.]*[.](upstream_rq_total|upstream_rq_[1-5]xx|upstream_rq_active|upstream_cx_active|upstream_cx_connect_fail|upstream_rq_time|membership_healthy|membership_total)$`),
		// of routes with a statPrefix: whoever writes one wants to see it
		regex(`^vhost[.].*[.]route[.].*[.](upstream_rq_total|upstream_rq_[1-5]xx|upstream_rq_time|upstream_rq_timeout|upstream_rq_retry)$`),
	}
	return &metricsv3.StatsConfig{
		StatsMatcher: &metricsv3.StatsMatcher{StatsMatcher: &metricsv3.StatsMatcher_InclusionList{
			InclusionList: &matcherv3.ListStringMatcher{Patterns: keep},
		}},
		HistogramBucketSettings: []*metricsv3.HistogramBucketSettings{
			{Match: prefix("cluster."), Buckets: []float64{25, 250, 2500}},
			{Match: prefix("http."), Buckets: []float64{5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000}},
		},
	}
}

// layeredRuntime sets what an edge wants and Envoy leaves off or unlimited.
func layeredRuntime() *bootstrapv3.LayeredRuntime {
	number, boolean := structpb.NewNumberValue, structpb.NewBoolValue
	values := &structpb.Struct{Fields: map[string]*structpb.Value{
		// A client that resets most of its first 500 streams within a second
		// of opening them is cut off (CVE-2023-44487).
		"overload.premature_reset_total_stream_count":          number(500),
		"overload.premature_reset_min_stream_lifetime_seconds": number(1),
		// One connection may not hold a worker with a burst of requests.
		"http.max_requests_per_io_cycle": number(10),
		// Sloppy chunk sizes are how requests are smuggled.
		"envoy.reloadable_features.strict_chunk_parsing": boolean(true),
		"re2.max_program_size.error_level":               number(32768),
	}}
	return &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
		Name:           "static",
		LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: values},
	}}}
}

func pipe(path string, mode uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path, Mode: mode}}}
}

func prefix(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: s}}
}

func regex(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
		SafeRegex: &matcherv3.RegexMatcher{Regex: s},
	}}
}

// pack puts a message that is built here into an Any. Marshalling such a
// message cannot go wrong.
func pack(m proto.Message) *anypb.Any {
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		panic(fmt.Sprintf("pack %T: %v", m, err))
	}
	return a
}

// bootstrapJSON renders a bootstrap for Envoy and for the reader: valid,
// indented, the same bytes for the same message.
func bootstrapJSON(b *bootstrapv3.Bootstrap) ([]byte, error) {
	if err := b.ValidateAll(); err != nil {
		return nil, fmt.Errorf("validate bootstrap: %w", err)
	}
	loose, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("render bootstrap: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, loose, "", "  "); err != nil {
		return nil, fmt.Errorf("indent bootstrap: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
