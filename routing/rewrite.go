package routing

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/sluicegw/sluice/model"
)

// rewritePath sets how the path changes on its way to the destination.
//
// A URI takes the place of what the match consumed: the prefix, the exact path,
// or under a regex the whole path; the query stays. The two strings are joined
// as they are: prefix "/foo" rewritten to "/" turns "/foo/bar" into "//bar", so
// both or neither should end in a slash. Source: Istio, HTTPRewrite.uri; Envoy,
// RouteAction.prefix_rewrite.
func rewritePath(action *routev3.RouteAction, rw *model.Rewrite) {
	if rw.Regex != "" {
		action.RegexRewrite = regexRewrite(rw)
		return
	}
	action.PrefixRewrite = rw.URI
}

func regexRewrite(rw *model.Rewrite) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{
		Pattern:      regex(rw.Regex),
		Substitution: rw.Substitution,
	}
}
