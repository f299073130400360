package routing

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

// applicable returns the matches of rule that count in this proxy, on this port,
// behind gateways. A rule without matches takes every request: one match without
// conditions, carrying the rule's own path.
func applicable(in *HostInput, rule *model.HTTPRule, gateways []model.GatewayRef) []model.Match {
	if len(rule.Matches) == 0 {
		return []model.Match{{Field: rule.Field}}
	}
	var out []model.Match
	for _, m := range rule.Matches {
		if m.MeshOnly || (m.Port != 0 && m.Port != in.Port) || !in.Proxy.fits(&m) {
			continue
		}
		if len(m.Gateways) > 0 && !slices.ContainsFunc(m.Gateways, func(g model.GatewayRef) bool {
			return slices.Contains(gateways, g)
		}) {
			continue
		}
		out = append(out, m)
	}
	return out
}

// fits reports whether the proxy is one of those that m is for.
func (p Proxy) fits(m *model.Match) bool {
	if m.SourceNamespace != "" && m.SourceNamespace != p.Namespace {
		return false
	}
	for key, value := range m.SourceLabels {
		if own, ok := p.Labels[key]; !ok || own != value {
			return false
		}
	}
	return true
}

// routeMatch translates the conditions of m. A prefix is one of the raw string,
// not of path segments; a regex takes the whole value.
func routeMatch(m *model.Match) *routev3.RouteMatch {
	out := &routev3.RouteMatch{}
	setPath(out, m)
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, headerMatcher(h.Key, h.StringMatch))
	}
	for _, h := range m.WithoutHeaders {
		hm := headerMatcher(h.Key, h.StringMatch)
		hm.InvertMatch = true
		// Envoy lets a missing header fail an inverted match, too; a missing
		// header is exactly what is wanted here. A presence match already is.
		hm.TreatMissingHeaderAsEmpty = hm.GetStringMatch() != nil
		out.Headers = append(out.Headers, hm)
	}
	for _, p := range []struct {
		name  string
		match *model.StringMatch
	}{{":method", m.Method}, {":authority", m.Authority}, {":scheme", m.Scheme}} {
		// These three are always there: any value is no condition.
		if p.match != nil && !isPresent(*p.match) {
			out.Headers = append(out.Headers, headerMatcher(p.name, *p.match))
		}
	}
	for _, q := range m.QueryParams {
		out.QueryParameters = append(out.QueryParameters, queryMatcher(q))
	}
	return out
}

func setPath(out *routev3.RouteMatch, m *model.Match) {
	switch uri := m.URI; {
	case uri == nil || isPresent(*uri):
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
		return
	case uri.Kind == model.MatchRegex:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(uri.Value)}
		return
	case uri.Kind == model.MatchExact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: uri.Value}
	default:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: uri.Value}
		if uri.Value == "/" {
			return
		}
	}
	if m.IgnoreURICase {
		out.CaseSensitive = wrapperspb.Bool(false)
	}
}

// isPresent reports whether every value of something present fits s. Envoy has
// no empty prefix: it is the same as presence.
func isPresent(s model.StringMatch) bool {
	return s.Kind == model.MatchPresent || (s.Kind == model.MatchPrefix && s.Value == "")
}

func headerMatcher(name string, s model.StringMatch) *routev3.HeaderMatcher {
	if isPresent(s) {
		return &routev3.HeaderMatcher{
			Name:                 name,
			HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}
	}
	return &routev3.HeaderMatcher{
		Name:                 name,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: stringMatcher(s)},
	}
}

func queryMatcher(q model.KeyMatch) *routev3.QueryParameterMatcher {
	if isPresent(q.StringMatch) {
		return &routev3.QueryParameterMatcher{
			Name:                         q.Key,
			QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true},
		}
	}
	return &routev3.QueryParameterMatcher{
		Name: q.Key,
		QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{
			StringMatch: stringMatcher(q.StringMatch),
		},
	}
}

func stringMatcher(s model.StringMatch) *matcherv3.StringMatcher {
	switch s.Kind {
	case model.MatchPrefix:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: s.Value}}
	case model.MatchRegex:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(s.Value)}}
	default:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s.Value}}
	}
}

func regex(pattern string) *matcherv3.RegexMatcher {
	return &matcherv3.RegexMatcher{Regex: pattern}
}

// isCatchAll reports whether m takes every request: any path and no other
// condition.
func isCatchAll(m *routev3.RouteMatch) bool {
	if len(m.GetHeaders())+len(m.GetQueryParameters()) > 0 {
		return false
	}
	return m.GetPrefix() == "/" || m.GetSafeRegex().GetRegex() == ".*"
}

// bound keeps clients that choose where a rule leads within what the service of
// its destination declares: its names and its port.
func bound(in *HostInput, rule *model.HTTPRule, match *routev3.RouteMatch) {
	if t := dynamicTarget(in, rule); t != nil {
		match.Headers = append(match.Headers, headerMatcher(":authority", model.StringMatch{Kind: model.MatchRegex, Value: t.Authority()}))
	}
}
