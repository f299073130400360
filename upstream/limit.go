package upstream

import (
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	preservecasev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

const (
	// httpOptions is the key under which Envoy looks for the HTTP options of a
	// cluster.
	httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	// pingTimeout is how long an HTTP/2 ping waits if the policy says nothing.
	pingTimeout = 10 * time.Second
)

// pool returns the connection pool of a policy, never nil.
func pool(p model.TrafficPolicy) *model.ConnectionPool {
	if p.ConnectionPool == nil {
		return new(model.ConnectionPool)
	}
	return p.ConnectionPool
}

// limit bounds connections, requests and retries. Without a policy there is no
// bound, where Envoy's own is 1,024 connections, requests and waiting requests,
// and three retries, per destination.
func limit(c *clusterv3.Cluster, in ClusterInput) {
	p := pool(in.Policy)
	c.ConnectTimeout = durationpb.New(in.Settings.ConnectTimeout)
	if p.ConnectTimeout != nil {
		c.ConnectTimeout = durationpb.New(*p.ConnectTimeout)
	}
	if k := p.Keepalive; k != nil {
		c.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveProbes: positive(k.Probes), KeepaliveTime: seconds(k.Time), KeepaliveInterval: seconds(k.Interval),
		}}
	}
	t := &clusterv3.CircuitBreakers_Thresholds{
		MaxConnections:     orUnlimited(p.MaxConnections),
		MaxPendingRequests: orUnlimited(p.HTTP1MaxPendingRequests),
		MaxRequests:        orUnlimited(p.HTTP2MaxRequests),
		MaxRetries:         wrapperspb.UInt32(math.MaxUint32),
	}
	if p.MaxRetries != nil {
		t.MaxRetries = wrapperspb.UInt32(*p.MaxRetries)
	}
	if b := in.Policy.RetryBudget; b != nil {
		t.RetryBudget = &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
			BudgetPercent:       &typev3.Percent{Value: min(max(b.Percent, 0), 100)},
			MinRetryConcurrency: wrapperspb.UInt32(b.MinConcurrency),
			BudgetInterval:      optional(b.Interval),
		}
	}
	c.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{t}}
}

func orUnlimited(n uint32) *wrapperspb.UInt32Value {
	if n == 0 {
		n = math.MaxUint32
	}
	return wrapperspb.UInt32(n)
}

// positive returns n, nil if it is 0.
func positive(n uint32) *wrapperspb.UInt32Value {
	if n == 0 {
		return nil
	}
	return wrapperspb.UInt32(n)
}

// seconds rounds up to whole seconds, which is what a socket option takes; nil
// leaves the system's.
func seconds(d time.Duration) *wrapperspb.UInt32Value {
	if d <= 0 {
		return nil
	}
	return wrapperspb.UInt32(uint32(min((d-1)/time.Second+1, math.MaxInt32)))
}

func optional(d *time.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	return durationpb.New(*d)
}

// speaksHTTP2 reports whether the destination is spoken to in HTTP/2: its port
// says so, or the policy upgrades HTTP/1.1 ports.
func speaksHTTP2(in ClusterInput) bool {
	return in.Port.Protocol.IsHTTP2() || pool(in.Policy).H2Upgrade == model.H2UpgradeAlways
}

// protocolOptions speaks HTTP/2 to ports that declare it or are upgraded, else
// HTTP/1.1; or whatever the client spoke. There are no HTTP/2 pings unless the
// policy asks for them: gRPC servers close connections that ping more often than
// every five minutes.
func protocolOptions(in ClusterInput) *httpv3.HttpProtocolOptions {
	p := pool(in.Policy)
	o := &httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions:   commonOptions(p, in.Settings),
		UpstreamHttpProtocolOptions: authorityOptions(in),
		OutlierDetection:            errorCodes(in.Policy.Outlier),
	}
	http1, http2 := http1Options(in.Settings), http2Options(in)
	if p.UseClientProtocol {
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions: http1, Http2ProtocolOptions: http2,
			},
		}
		return o
	}
	explicit := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: http1},
	}
	if speaksHTTP2(in) {
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: http2}
	}
	o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit}
	return o
}

// http1Options passes trailers on, and the case of header names if the settings
// keep it: the case of an answer follows the cluster's option, not the
// listener's.
func http1Options(s model.Settings) *corev3.Http1ProtocolOptions {
	o := &corev3.Http1ProtocolOptions{EnableTrailers: true}
	if s.KeepHeaderCase {
		o.HeaderKeyFormat = &corev3.Http1ProtocolOptions_HeaderKeyFormat{
			HeaderFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter{
				StatefulFormatter: &corev3.TypedExtensionConfig{
					Name: "envoy.http.stateful_header_formatters.preserve_case", TypedConfig: pack(&preservecasev3.PreserveCaseFormatterConfig{}),
				},
			},
		}
	}
	return o
}

// commonOptions bounds connections by time and by requests, and the headers of
// answers. The idle timeout of TCP stands in for that of HTTP, as with Istio.
func commonOptions(p *model.ConnectionPool, s model.Settings) *corev3.HttpProtocolOptions {
	idle := p.HTTPIdleTimeout
	if idle == nil {
		idle = p.TCPIdleTimeout
	}
	return &corev3.HttpProtocolOptions{
		MaxHeadersCount:          wrapperspb.UInt32(s.MaxResponseHeaders),
		MaxResponseHeadersKb:     wrapperspb.UInt32(s.MaxResponseHeadersKiB),
		IdleTimeout:              optional(idle),
		MaxConnectionDuration:    optional(p.MaxConnectionDuration),
		MaxRequestsPerConnection: positive(p.MaxRequestsPerConnection),
	}
}

func http2Options(in ClusterInput) *corev3.Http2ProtocolOptions {
	p := pool(in.Policy)
	o := &corev3.Http2ProtocolOptions{
		InitialStreamWindowSize:     wrapperspb.UInt32(in.Settings.StreamWindowBytes),
		InitialConnectionWindowSize: wrapperspb.UInt32(in.Settings.ConnectionWindowBytes),
	}
	if p.MaxConcurrentStreams > 0 {
		o.MaxConcurrentStreams = wrapperspb.UInt32(min(p.MaxConcurrentStreams, math.MaxInt32))
	}
	if k := p.HTTP2Keepalive; k != nil && k.Interval > 0 {
		timeout := k.Timeout
		if timeout <= 0 {
			timeout = pingTimeout
		}
		o.ConnectionKeepalive = &corev3.KeepaliveSettings{Interval: durationpb.New(k.Interval), Timeout: durationpb.New(timeout)}
	}
	return o
}
