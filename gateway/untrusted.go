package gateway

import (
	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/sluicegw/sluice/model"
)

// clientHeaders are the headers that only a proxy may set and that Envoy keeps
// from a client at its edge.
func clientHeaders() []string { return []string{"x-envoy-attempt-count", "x-envoy-original-dst-host"} }

// clientTrailers stand in no trailer section: what frames, routes or identifies a
// request is read before its content. A destination that merges trailers into the
// headers would believe them.
//
// Source: RFC 9110 section 6.5.1.
func clientTrailers() []string {
	return []string{
		"authorization", "connection", "content-encoding", "content-length", "cookie", "expect", "forwarded", "host", "keep-alive",
		"proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
		"x-envoy-attempt-count", "x-envoy-original-dst-host", "x-forwarded-client-cert", "x-forwarded-for", "x-forwarded-host",
		"x-forwarded-proto", "x-request-id", model.HeaderScope,
	}
}

// removal takes headers, or trailers, off.
func removal(names []string) (out []*mutationrulesv3.HeaderMutation) {
	for _, name := range names {
		out = append(out, &mutationrulesv3.HeaderMutation{Action: &mutationrulesv3.HeaderMutation_Remove{Remove: name}})
	}
	return out
}

// Paths that mean less than they say to servers that take off ";" and what
// follows it in each segment (Tomcat, Jetty and what is built on them): a dot
// segment or an empty one in disguise, and any parameter.
const (
	disguisedSegment = `.*/((\.|%2[eE]){1,2}(;|%3[bB]).*|(;|%3[bB])[^/]*/.*)`
	pathParameter    = `.*(;|%3[bB]).*`
)

// severalHosts is an authority of several hosts, as Envoy joins two Host lines, or
// one with user information, which some servers cut off and others route by. No
// host name has these characters.
//
// Source: RFC 9112 section 3.2, RFC 9110 section 4.2.4.
const severalHosts = `.*[,@].*`

// The names of what refuses requests; they stand in the details of the answer.
const (
	hostPolicy = "sluice-host"
	pathPolicy = "sluice-path"
)

// targetGuard refuses requests for several hosts at once and paths that hide a
// segment from rules.
func targetGuard(p model.PathParameters) *hcmv3.HttpFilter {
	policies := map[string]*rbacconfigv3.Policy{hostPolicy: refuse(&rbacconfigv3.Permission{Rule: &rbacconfigv3.Permission_Header{
		Header: &routev3.HeaderMatcher{
			Name: ":authority", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: whole(severalHosts)},
		},
	}})}
	expression := disguisedSegment
	if p == model.PathParametersReject {
		expression = pathParameter
	}
	if p != model.PathParametersKeep {
		policies[pathPolicy] = refuse(&rbacconfigv3.Permission{Rule: &rbacconfigv3.Permission_UrlPath{
			UrlPath: &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: whole(expression)}},
		}})
	}
	return httpFilter("envoy.filters.http.rbac", &rbacv3.RBAC{Rules: &rbacconfigv3.RBAC{Action: rbacconfigv3.RBAC_DENY, Policies: policies}})
}

// refuse is a policy for requests of anybody.
func refuse(what *rbacconfigv3.Permission) *rbacconfigv3.Policy {
	return &rbacconfigv3.Policy{
		Permissions: []*rbacconfigv3.Permission{what},
		Principals:  []*rbacconfigv3.Principal{{Identifier: &rbacconfigv3.Principal_Any{Any: true}}},
	}
}

func whole(regex string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: regex}}}
}
