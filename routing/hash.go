package routing

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluicegw/sluice/model"
)

// hashPolicies returns what decides which endpoint a request goes to, in the
// order of the destinations. Envoy has one list for a route, whichever of the
// weighted destinations is picked, and mixes all of its keys: destinations that
// hash by different keys share the mix, so that a request sticks as long as all
// of its keys stay. A policy that several destinations have counts once; a cookie
// with a TTL that Envoy refuses does not count.
//
// Source: Istio appends the policies of all destinations of a route; Envoy,
// RouteAction.hash_policy.
func hashPolicies(in *HostInput, takers []*model.WeightedDestination) []*routev3.RouteAction_HashPolicy {
	var out []*routev3.RouteAction_HashPolicy
next:
	for _, d := range takers {
		h := in.Targets[d.Destination].Hash
		if h == nil || (h.Cookie != nil && !inRange(h.Cookie.TTL)) {
			continue
		}
		policy := hashPolicy(h)
		for _, has := range out {
			if proto.Equal(has, policy) {
				continue next
			}
		}
		out = append(out, policy)
	}
	return out
}

// hashPolicy translates the key of h.
func hashPolicy(h *model.ConsistentHash) *routev3.RouteAction_HashPolicy {
	switch {
	case h.Header != "":
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: h.Header},
		}}
	case h.Cookie != nil:
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{
			Cookie: hashCookie(h.Cookie),
		}}
	case h.QueryParameter != "":
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_QueryParameter_{
			QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: h.QueryParameter},
		}}
	}
	return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
		ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: h.SourceIP},
	}}
}

// hashCookie translates c. Envoy makes a cookie that is not there if a TTL is
// given, for the session if it is 0.
func hashCookie(c *model.HashCookie) *routev3.RouteAction_HashPolicy_Cookie {
	out := &routev3.RouteAction_HashPolicy_Cookie{Name: c.Name, Path: c.Path}
	if c.TTL != nil {
		out.Ttl = durationpb.New(*c.TTL)
	}
	for _, a := range c.Attributes {
		out.Attributes = append(out.Attributes, &routev3.RouteAction_HashPolicy_CookieAttribute{Name: a.Name, Value: a.Value})
	}
	return out
}
