package upstream

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	stringv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

// The probes of a health check that leaves them open.
const (
	checkInterval = 10 * time.Second
	checkTimeout  = time.Second
	checkHealthy  = 1
	checkSick     = 3
)

// outlier ejects endpoints by errors in a row. Ejection by success rate, which
// Envoy does on its own, is off: nobody asked for it, as with Istio.
func outlier(o *model.OutlierDetection) *clusterv3.OutlierDetection {
	if o == nil {
		return nil
	}
	out := &clusterv3.OutlierDetection{
		Interval:                       optional(o.Interval),
		BaseEjectionTime:               optional(o.BaseEjectionTime),
		EnforcingSuccessRate:           wrapperspb.UInt32(0),
		SplitExternalLocalOriginErrors: o.SplitLocalOrigin,
	}
	if o.MaxEjectionPercent > 0 {
		out.MaxEjectionPercent = wrapperspb.UInt32(min(o.MaxEjectionPercent, 100))
	}
	if n := o.Consecutive5xx; n != nil {
		out.Consecutive_5Xx, out.EnforcingConsecutive_5Xx = wrapperspb.UInt32(*n), enforcing(*n)
	}
	if n := o.ConsecutiveGateway; n != nil {
		out.ConsecutiveGatewayFailure, out.EnforcingConsecutiveGatewayFailure = wrapperspb.UInt32(*n), enforcing(*n)
	}
	if o.SplitLocalOrigin {
		out.EnforcingLocalOriginSuccessRate = wrapperspb.UInt32(0)
		if n := o.ConsecutiveLocalOrigin; n != nil {
			out.ConsecutiveLocalOriginFailure, out.EnforcingConsecutiveLocalOriginFailure = wrapperspb.UInt32(*n), enforcing(*n)
		}
	}
	return out
}

// enforcing ejects always, or never where the number of errors is 0.
func enforcing(errors uint32) *wrapperspb.UInt32Value {
	if errors == 0 {
		return wrapperspb.UInt32(0)
	}
	return wrapperspb.UInt32(100)
}

// errorCodes says which answers count as errors, nil for 5xx.
func errorCodes(o *model.OutlierDetection) *httpv3.HttpProtocolOptions_OutlierDetection {
	if o == nil || len(o.HTTPCodes) == 0 {
		return nil
	}
	var rules []*matcherv3.MatchPredicate
	for _, code := range o.HTTPCodes {
		rules = append(rules, &matcherv3.MatchPredicate{Rule: &matcherv3.MatchPredicate_HttpResponseHeadersMatch{
			HttpResponseHeadersMatch: &matcherv3.HttpHeadersMatch{Headers: []*routev3.HeaderMatcher{{
				Name: ":status",
				HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &stringv3.StringMatcher{
					MatchPattern: &stringv3.StringMatcher_Exact{Exact: strconv.FormatUint(uint64(code), 10)},
				}},
			}}},
		}})
	}
	match := rules[0]
	if len(rules) > 1 {
		match = &matcherv3.MatchPredicate{Rule: &matcherv3.MatchPredicate_OrMatch{OrMatch: &matcherv3.MatchPredicate_MatchSet{Rules: rules}}}
	}
	return &httpv3.HttpProtocolOptions_OutlierDetection{ErrorMatcher: match}
}

// healthChecks probes every endpoint, at the same pace whether there is traffic
// or not.
func healthChecks(in ClusterInput) []*corev3.HealthCheck {
	h := in.HealthCheck
	if h == nil {
		return nil
	}
	interval := durationpb.New(cmp.Or(h.Interval, checkInterval))
	check := &corev3.HealthCheck{
		Interval:           interval,
		NoTrafficInterval:  interval,
		Timeout:            durationpb.New(cmp.Or(h.Timeout, checkTimeout)),
		HealthyThreshold:   wrapperspb.UInt32(cmp.Or(h.Healthy, checkHealthy)),
		UnhealthyThreshold: wrapperspb.UInt32(cmp.Or(h.Unhealthy, checkSick)),
		HealthChecker:      &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{}},
	}
	if h.Path != "" {
		ask := &corev3.HealthCheck_HttpHealthCheck{
			Path: text(h.Path),
			Host: text(cmp.Or(h.Host, strings.TrimPrefix(in.Destination.Host, "*."))),
		}
		if isHTTP(in.Port.Protocol) && speaksHTTP2(in) && !pool(in.Policy).UseClientProtocol {
			ask.CodecClientType = typev3.CodecClientType_HTTP2
		}
		check.HealthChecker = &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: ask}
	}
	return []*corev3.HealthCheck{check}
}
