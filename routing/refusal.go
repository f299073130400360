package routing

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/sluicegw/sluice/model"
)

// Refusal returns a virtual host for the same host that answers 500 to
// everything: what is served where the real one cannot be.
func Refusal(in HostInput) *routev3.VirtualHost {
	vh, _ := VirtualHost(HostInput{Table: in.Table, Port: in.Port, Host: in.Host})
	vh.RetryPolicy = nil
	vh.Routes = []*routev3.Route{{
		Name:   "refused",
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 500}},
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: model.HeaderReason, Value: string(model.ReasonInternal)},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}},
	}}
	return vh
}

// Clusters returns the names of the clusters that the routes of vh, a list, send
// or mirror to, sorted, each once.
func Clusters(vh *routev3.VirtualHost) []string {
	var out []string
	for _, r := range vh.GetRoutes() {
		action := r.GetRoute()
		if c := action.GetCluster(); c != "" {
			out = append(out, c)
		}
		for _, c := range action.GetWeightedClusters().GetClusters() {
			out = append(out, c.GetName())
		}
		for _, m := range action.GetRequestMirrorPolicies() {
			out = append(out, m.GetCluster())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
