package sim

import (
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// leafOf returns the routes that a matcher leads r to: of a tree over a header,
// those under its value or under the longest prefix of it, else those of
// on_no_match. A leaf is a route or a list of routes. The second result names
// what this package cannot play.
//
// Source: Envoy, VirtualHost.matcher; xds.type.matcher.v3.Matcher.
func leafOf(m *xdsmatcherv3.Matcher, r Request) ([]*routev3.Route, string) {
	tree := m.GetMatcherTree()
	if tree == nil {
		return nil, "not a matcher_tree"
	}
	input := &matcherv3.HttpRequestHeaderMatchInput{}
	if err := tree.GetInput().GetTypedConfig().UnmarshalTo(input); err != nil {
		return nil, "input is not a request header"
	}
	value, present := r.Headers[strings.ToLower(input.GetHeaderName())]
	var found *xdsmatcherv3.Matcher_OnMatch
	switch t := tree.GetTreeType().(type) {
	case *xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap:
		found = t.ExactMatchMap.GetMap()[value]
	case *xdsmatcherv3.Matcher_MatcherTree_PrefixMatchMap:
		for end := len(value); end >= 0 && found == nil; end-- {
			found = t.PrefixMatchMap.GetMap()[value[:end]]
		}
	default:
		return nil, "custom_match"
	}
	if !present || found == nil {
		found = m.GetOnNoMatch()
	}
	return routesOf(found)
}

func routesOf(leaf *xdsmatcherv3.Matcher_OnMatch) ([]*routev3.Route, string) {
	if leaf == nil {
		return nil, ""
	}
	config := leaf.GetAction().GetTypedConfig()
	list := &routev3.RouteList{}
	if config.UnmarshalTo(list) == nil {
		return list.GetRoutes(), ""
	}
	route := &routev3.Route{}
	if config.UnmarshalTo(route) == nil {
		return []*routev3.Route{route}, ""
	}
	return nil, "leaf is neither a route nor a list of routes"
}
