package routing

import (
	"fmt"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

// serve returns what happens to the requests of rule, as a route without name
// and match, and the problems of that. A rule that Envoy would refuse answers
// 500 instead.
func serve(in *HostInput, by model.Ref, rule *model.HTTPRule) (*routev3.Route, []model.Problem) {
	if rule.Fault != nil {
		return refuse(500, rule.Fault.Reason), nil
	}
	if p := checkRule(by, rule); p != nil {
		return refuse(500, p.Reason), []model.Problem{*p}
	}
	filters, p := perFilter(in, by, rule)
	if p != nil {
		return refuse(500, p.Reason), []model.Problem{*p}
	}
	var (
		out      *routev3.Route
		problems []model.Problem
	)
	switch {
	case rule.Redirect != nil:
		out = respond(rule, redirectRoute(in, rule.Redirect))
	case rule.Direct != nil:
		out = respond(rule, directRoute(rule.Direct))
	default:
		out, problems = forward(in, by, rule)
	}
	if p := checkRoute(by, rule, out); p != nil {
		return refuse(500, p.Reason), append(problems, *p)
	}
	out.TypedPerFilterConfig = filters
	return out, problems
}

// refuse answers in place of a destination and says why.
func refuse(status uint32, reason model.Reason) *routev3.Route {
	out := directRoute(&model.DirectResponse{
		Status: status,
		Body:   []byte("This route cannot be served: " + string(reason) + ".\n"),
	})
	out.ResponseHeadersToAdd = []*corev3.HeaderValueOption{reasonHeader(reason)}
	return out
}

// respond completes a route that Envoy answers itself.
func respond(rule *model.HTTPRule, out *routev3.Route) *routev3.Route {
	addHeaders(out, rule.Headers)
	return out
}

// directRoute answers without a destination. A body that is no UTF-8 is sent
// as bytes.
func directRoute(d *model.DirectResponse) *routev3.Route {
	out := &routev3.DirectResponseAction{Status: d.Status}
	switch {
	case len(d.Body) == 0:
	case utf8.Valid(d.Body):
		out.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: string(d.Body)}}
	default:
		out.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: d.Body}}
	}
	return &routev3.Route{Action: &routev3.Route_DirectResponse{DirectResponse: out}}
}

// forward sends requests to the destinations of rule. When none of those that
// take requests exists, the route answers 503 itself, as Envoy would for an
// unknown cluster, and says why.
func forward(in *HostInput, by model.Ref, rule *model.HTTPRule) (*routev3.Route, []model.Problem) {
	problems := missing(in, by, rule)
	mirrors, ps := mirrorPolicies(in, by, rule)
	problems = append(problems, ps...)
	takers := taking(rule.Route)
	if reason, all := allMissing(in, takers); all {
		return refuse(503, reason), problems
	}
	action := &routev3.RouteAction{
		// The timeout holds for gRPC too; a shorter grpc-timeout is the client's
		// own and passes. max_stream_duration, which could bound it, would make
		// Envoy ignore the timeout of the route.
		Timeout:     duration(rule.Timeout),
		RetryPolicy: retryPolicy(rule.Retries),

		RequestMirrorPolicies: mirrors,
		HashPolicy:            hashPolicies(in, takers),
	}
	out := &routev3.Route{Action: &routev3.Route_Route{Route: action}}
	addHeaders(out, rule.Headers)
	authority := rule.Headers.SetAuthority
	if rule.Rewrite != nil {
		rewritePath(action, rule.Rewrite)
		if rule.Rewrite.Authority != "" {
			authority = rule.Rewrite.Authority
		}
	}
	if len(rule.Route) == 1 {
		only := &rule.Route[0]
		action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: cluster(in, only.Destination)}
		addHeaders(out, only.Headers)
		if authority == "" {
			authority = only.Headers.SetAuthority
		}
	} else {
		action.ClusterSpecifier = weighted(in, takers, authority == "")
	}
	if authority != "" {
		action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: authority}
	}
	return out, problems
}

// taking returns the destinations that take requests: the only one whatever its
// weight, else those with a weight.
func taking(route []model.WeightedDestination) []*model.WeightedDestination {
	var out []*model.WeightedDestination
	for i := range route {
		if len(route) == 1 || route[i].Weight > 0 {
			out = append(out, &route[i])
		}
	}
	return out
}

// weighted splits requests by weight. Host rewriting of a destination counts
// only when the rule has none of its own (ownAuthority), as with a single
// destination.
func weighted(in *HostInput, takers []*model.WeightedDestination, ownAuthority bool) *routev3.RouteAction_WeightedClusters {
	out := &routev3.WeightedCluster{}
	for _, d := range takers {
		w := &routev3.WeightedCluster_ClusterWeight{
			Name:                    cluster(in, d.Destination),
			Weight:                  wrapperspb.UInt32(d.Weight),
			RequestHeadersToAdd:     headersToAdd(d.Headers.Request),
			RequestHeadersToRemove:  d.Headers.Request.Remove,
			ResponseHeadersToAdd:    headersToAdd(d.Headers.Response),
			ResponseHeadersToRemove: d.Headers.Response.Remove,
		}
		if t := in.Targets[d.Destination]; t.Cluster == "" {
			w.ResponseHeadersToAdd = append(w.ResponseHeadersToAdd, reasonHeader(why(t)))
		}
		if ownAuthority && d.Headers.SetAuthority != "" {
			w.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{
				HostRewriteLiteral: d.Headers.SetAuthority,
			}
		}
		out.Clusters = append(out.Clusters, w)
	}
	return &routev3.RouteAction_WeightedClusters{WeightedClusters: out}
}

// cluster returns the cluster of a destination; of a missing one the name it
// would have, for which Envoy answers 503.
func cluster(in *HostInput, d model.Destination) string {
	if t := in.Targets[d]; t.Cluster != "" {
		return t.Cluster
	}
	return model.ClusterName(d)
}

// allMissing reports whether none of the destinations exists, and why the first
// does not.
func allMissing(in *HostInput, takers []*model.WeightedDestination) (model.Reason, bool) {
	for _, d := range takers {
		if in.Targets[d.Destination].Cluster != "" {
			return "", false
		}
	}
	return why(in.Targets[takers[0].Destination]), true
}

func why(t model.Target) model.Reason {
	if t.Reason == "" {
		return model.ReasonDestinationMissing
	}
	return t.Reason
}

// missing returns a problem for every destination of rule that does not exist:
// an error where it takes requests, a warning where its weight is 0.
func missing(in *HostInput, by model.Ref, rule *model.HTTPRule) []model.Problem {
	var out []model.Problem
	for i := range rule.Route {
		d := &rule.Route[i]
		t := in.Targets[d.Destination]
		if t.Cluster != "" {
			continue
		}
		p := absent(by, d.Field+".destination", d.Destination, t)
		if len(rule.Route) > 1 && d.Weight == 0 {
			p.Severity = model.SeverityWarning
		}
		out = append(out, p)
	}
	return out
}

// absent is the problem that t, what became of d, does not exist. field is where
// d is written.
func absent(by model.Ref, field string, d model.Destination, t model.Target) model.Problem {
	message := t.Message
	if message == "" {
		message = fmt.Sprintf("no service has the host %q; declare the service or correct the host", d.Host)
	}
	return *invalid(by, field+"."+missingField(t.Reason), why(t), message)
}

func missingField(r model.Reason) string {
	switch r {
	case model.ReasonPortMissing:
		return "port"
	case model.ReasonSubsetMissing:
		return "subset"
	}
	return "host"
}

// duration returns d for Envoy; none is 0, which disables a route's timeout
// instead of leaving Envoy's 15 s.
func duration(d *time.Duration) *durationpb.Duration {
	if d == nil {
		return durationpb.New(0)
	}
	return durationpb.New(*d)
}
