package sim

import (
	"regexp"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// matches reports whether r fits m. The second result names a condition that
// this package cannot judge.
func matches(m *routev3.RouteMatch, r Request) (bool, string) {
	switch {
	case len(m.GetDynamicMetadata()) > 0:
		return false, "route.match.dynamic_metadata"
	case m.GetRuntimeFraction() != nil:
		return false, "route.match.runtime_fraction"
	case m.GetTlsContext() != nil:
		return false, "route.match.tls_context"
	}
	ok, unsupported := pathMatches(m, r)
	if !ok || unsupported != "" {
		return false, unsupported
	}
	if m.GetGrpc() != nil && !strings.HasPrefix(r.Headers["content-type"], "application/grpc") {
		return false, ""
	}
	for _, h := range m.GetHeaders() {
		ok, unsupported := headerMatches(h, r)
		if !ok || unsupported != "" {
			return false, unsupported
		}
	}
	query := queryOf(r.Path)
	for _, q := range m.GetQueryParameters() {
		ok, unsupported := queryMatches(q, query)
		if !ok || unsupported != "" {
			return false, unsupported
		}
	}
	return true, ""
}

// pathMatches judges the path specifier; the query takes no part in it. CONNECT
// requests have no path and fit only a connect matcher.
func pathMatches(m *routev3.RouteMatch, r Request) (bool, string) {
	path := pathOnly(r.Path)
	fold := func(s string) string { return s }
	if c := m.GetCaseSensitive(); c != nil && !c.GetValue() {
		fold = asciiLower
	}
	if _, ok := m.GetPathSpecifier().(*routev3.RouteMatch_ConnectMatcher_); ok || r.Method == "CONNECT" {
		return ok && r.Method == "CONNECT", ""
	}
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return strings.HasPrefix(fold(path), fold(p.Prefix)), ""
	case *routev3.RouteMatch_Path:
		return fold(path) == fold(p.Path), ""
	case *routev3.RouteMatch_PathSeparatedPrefix:
		prefix := fold(p.PathSeparatedPrefix)
		rest, ok := strings.CutPrefix(fold(path), prefix)
		return ok && (rest == "" || rest[0] == '/'), ""
	case *routev3.RouteMatch_SafeRegex:
		return fullMatch(p.SafeRegex.GetRegex(), path), ""
	}
	return false, "route.match path specifier"
}

// headerMatches judges one header matcher. A missing header fails it, inverted
// or not, unless it counts as empty or presence is what is asked.
//
// Source: Envoy, HeaderMatcher.
func headerMatches(h *routev3.HeaderMatcher, r Request) (bool, string) {
	value, present := r.Headers[strings.ToLower(h.GetName())]
	if p, ok := h.GetHeaderMatchSpecifier().(*routev3.HeaderMatcher_PresentMatch); ok {
		return (present == p.PresentMatch) != h.GetInvertMatch(), ""
	}
	if !present && !h.GetTreatMissingHeaderAsEmpty() {
		return false, ""
	}
	ok, unsupported := valueMatches(h, value)
	return ok != h.GetInvertMatch() && unsupported == "", unsupported
}

// valueMatches judges the value of a header that is there.
func valueMatches(h *routev3.HeaderMatcher, value string) (bool, string) {
	switch s := h.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_StringMatch:
		return stringMatches(s.StringMatch, value)
	case *routev3.HeaderMatcher_RangeMatch:
		n, err := strconv.ParseInt(value, 10, 64)
		return err == nil && n >= s.RangeMatch.GetStart() && n < s.RangeMatch.GetEnd(), ""
	case nil: // a name alone asks for presence
		return true, ""
	}
	return false, "route.match.headers: a deprecated matcher; use string_match"
}

func queryMatches(q *routev3.QueryParameterMatcher, query map[string]string) (bool, string) {
	value, present := query[q.GetName()]
	switch s := q.GetQueryParameterMatchSpecifier().(type) {
	case *routev3.QueryParameterMatcher_StringMatch:
		if !present {
			return false, ""
		}
		return stringMatches(s.StringMatch, value)
	case *routev3.QueryParameterMatcher_PresentMatch:
		return present == s.PresentMatch, ""
	}
	return present, ""
}

// stringMatches judges a string; a regex must fit all of it and minds case
// whatever ignore_case says.
func stringMatches(m *matcherv3.StringMatcher, value string) (bool, string) {
	fold := func(s string) string { return s }
	if m.GetIgnoreCase() {
		fold = asciiLower
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return fold(value) == fold(p.Exact), ""
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(fold(value), fold(p.Prefix)), ""
	case *matcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(fold(value), fold(p.Suffix)), ""
	case *matcherv3.StringMatcher_Contains:
		return strings.Contains(fold(value), fold(p.Contains)), ""
	case *matcherv3.StringMatcher_SafeRegex:
		return fullMatch(p.SafeRegex.GetRegex(), value), ""
	}
	return false, "string matcher"
}

// fullMatch reports whether the whole of s fits an RE2 pattern. Like Envoy's,
// a dot takes no newline.
func fullMatch(pattern, s string) bool {
	re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	return err == nil && re.MatchString(s)
}

// pathOnly cuts the query off.
func pathOnly(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}

// queryOf returns the first value of each query parameter, undecoded; one
// without "=" has the value "".
func queryOf(path string) map[string]string {
	out := make(map[string]string)
	_, query, _ := strings.Cut(path, "?")
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if _, seen := out[name]; !seen {
			out[name] = value
		}
	}
	return out
}

// asciiLower is the case folding of Envoy: ASCII only.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
