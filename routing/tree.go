package routing

import (
	"slices"
	"strings"

	corev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// listedRoutes is how many routes a virtual host tries one after the other:
	// up to there a list costs a request less than can be seen.
	listedRoutes = 100
	// copies is how many times the routes of the list a tree may hold: routes
	// that may take many paths are in many leaves, and each costs memory.
	copies = 8
)

// Tree returns vh with a matcher in the place of its list of routes, so that a
// request costs the same whichever of them takes it. It returns vh itself when
// the list is short, when so many routes fit every path that a tree would be
// little more than copies of the list, and when vh redirects to https by
// itself. Nothing may be added to the routes behind a matcher: Envoy refuses a
// virtual host with both. vh is not changed; the two share what they have in
// common.
//
// The tree looks the path up, query included, in a map of prefixes, one for
// each beginning of the paths of a route. The leaf at the longest that fits has,
// in the order of the list, all routes that can take such a path: each route is
// matched there as in the list. A request without a path, CONNECT, gets the
// routes that begin with nothing.
//
// Source: Envoy, VirtualHost.matcher and RouteList; when the routes of a leaf
// all miss, it does not go back to a shorter prefix.
func Tree(vh *routev3.VirtualHost) *routev3.VirtualHost {
	if len(vh.GetRoutes()) <= listedRoutes || vh.GetMatcher() != nil || vh.GetRequireTls() != routev3.VirtualHost_NONE {
		return vh
	}
	leaves := leavesOf(vh.GetRoutes())
	if len(leaves) < 2 {
		return vh
	}
	out := &routev3.VirtualHost{}
	vh.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Name() != "routes" {
			out.ProtoReflect().Set(field, value)
		}
		return true
	})
	out.Matcher = matcher(leaves)
	return out
}

// candidate is a route in a leaf.
type candidate struct {
	index int // in the list
	route *routev3.Route
	path  pathKey
	// closes: no request with a path gets past it.
	closes bool
	// connect: it is for requests of CONNECT.
	connect bool
}

func candidates(routes []*routev3.Route) []candidate {
	out := make([]candidate, len(routes))
	for i, r := range routes {
		path := pathOf(r.GetMatch())
		_, connect := r.GetMatch().GetPathSpecifier().(*routev3.RouteMatch_ConnectMatcher_)
		out[i] = candidate{i, r, path, path.everything && unconditional(r.GetMatch()), connect}
	}
	return out
}

// leavesOf returns the routes to try by the longest beginning of the path, nil
// if they are too many. The leaf "" is always there; it may be empty.
func leavesOf(routes []*routev3.Route) map[string][]candidate {
	own := map[string][]candidate{"": nil}
	for _, c := range candidates(routes) {
		own[c.path.literal] = append(own[c.path.literal], c)
	}
	keys := make([]string, 0, len(own))
	for key := range own {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	leaves := make(map[string][]candidate, len(keys))
	size := 0
	var above []string // the keys that key begins with, shortest first
	for _, key := range keys {
		for len(above) > 0 && !strings.HasPrefix(key, above[len(above)-1]) {
			above = above[:len(above)-1]
		}
		var inherited []candidate
		if len(above) > 0 {
			inherited = leaves[above[len(above)-1]]
		}
		leaves[key] = leaf(own[key], inherited)
		if size += len(leaves[key]); size > copies*len(routes) {
			return nil
		}
		above = append(above, key)
	}
	return leaves
}

// leaf returns own and inherited candidates in the order of the list, without
// those that no request gets to: an exact path that is too short, and what is
// behind a route that takes everything. CONNECT gets past that.
func leaf(own, inherited []candidate) []candidate {
	all := slices.Clone(own)
	for _, c := range inherited {
		if !c.path.exact {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b candidate) int { return a.index - b.index })
	closed := false
	return slices.DeleteFunc(all, func(c candidate) bool {
		if closed {
			return !c.connect
		}
		closed = c.closes
		return false
	})
}

func matcher(leaves map[string][]candidate) *xdsmatcherv3.Matcher {
	byPrefix := make(map[string]*xdsmatcherv3.Matcher_OnMatch, len(leaves))
	for key, routes := range leaves {
		if key != "" {
			byPrefix[key] = routeList(routes)
		}
	}
	return &xdsmatcherv3.Matcher{
		MatcherType: &xdsmatcherv3.Matcher_MatcherTree_{MatcherTree: &xdsmatcherv3.Matcher_MatcherTree{
			Input: &corev3.TypedExtensionConfig{
				Name:        "path",
				TypedConfig: packed(&matcherv3.HttpRequestHeaderMatchInput{HeaderName: ":path"}),
			},
			TreeType: &xdsmatcherv3.Matcher_MatcherTree_PrefixMatchMap{
				PrefixMatchMap: &xdsmatcherv3.Matcher_MatcherTree_MatchMap{Map: byPrefix},
			},
		}},
		OnNoMatch: routeList(leaves[""]),
	}
}

// routeList returns what Envoy does in a leaf; without routes nothing, which
// answers 404.
func routeList(routes []candidate) *xdsmatcherv3.Matcher_OnMatch {
	if len(routes) == 0 {
		return nil
	}
	list := &routev3.RouteList{}
	for _, c := range routes {
		list.Routes = append(list.Routes, c.route)
	}
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
		Action: &corev3.TypedExtensionConfig{Name: "routes", TypedConfig: packed(list)},
	}}
}
