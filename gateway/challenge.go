package gateway

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluicegw/sluice/model"
)

const (
	// challengeName is the name by which tables know the route of WithChallenge.
	challengeName = "acme-challenge"
	// challengePath is where validators ask (RFC 8555 section 8.3).
	challengePath = "/.well-known/acme-challenge/"
)

// ChallengeRoute returns the route on which an ACME authority asks whether we hold
// a host: as the client sent it, to [model.ClusterChallengeHTTP]. No filter that a
// host may steer touches it, and it has no retry and the 15 seconds that Envoy
// gives every request.
func ChallengeRoute() *routev3.Route {
	off := pack(&routev3.FilterConfig{Disabled: true})
	return &routev3.Route{
		Name:  challengeName,
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: challengePath}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: model.ClusterChallengeHTTP},
		}},
		TypedPerFilterConfig: map[string]*anypb.Any{model.FilterFault: off, model.FilterCORS: off},
	}
}

// WithChallenge returns vh with [ChallengeRoute] before all its routes; vh is not
// changed. The redirect to https that [PlainTable] and [ScopedTable] put first
// comes behind it: an authority asks in plain text. A host whose routes are a tree
// gets it before they become one.
func WithChallenge(vh *routev3.VirtualHost) *routev3.VirtualHost {
	if isChallenge(vh) {
		return vh
	}
	out := proto.CloneOf(vh)
	out.Routes = slices.Insert(out.Routes, 0, ChallengeRoute())
	return out
}

// isChallenge reports whether the first route of vh is that of WithChallenge.
func isChallenge(vh *routev3.VirtualHost) bool {
	return len(vh.GetRoutes()) > 0 && vh.GetRoutes()[0].GetName() == challengeName
}
