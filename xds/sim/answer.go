package sim

import (
	"regexp"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// routeAnswer plays the action of the route that matched.
func routeAnswer(route *routev3.Route, r Request) Answer {
	out := Answer{Route: route.GetName(), StatPrefix: route.GetStatPrefix(), ResponseHeaders: responseHeaders(route)}
	if unsupported := filtered(&out, route); unsupported != "" {
		return Answer{Unsupported: unsupported}
	}
	switch a := route.GetAction().(type) {
	case *routev3.Route_DirectResponse:
		out.Status = a.DirectResponse.GetStatus()
		body := a.DirectResponse.GetBody()
		out.Body = body.GetInlineString() + string(body.GetInlineBytes())
	case *routev3.Route_Redirect:
		out.Status = redirectStatus(a.Redirect.GetResponseCode())
		out.Location = location(route.GetMatch(), a.Redirect, r)
	case *routev3.Route_Route:
		forwardAnswer(&out, route.GetMatch(), a.Route, r)
	default:
		out.Unsupported = "route action"
	}
	return out
}

// forwardAnswer fills in where the request goes and how it looks there.
func forwardAnswer(out *Answer, m *routev3.RouteMatch, a *routev3.RouteAction, r Request) {
	out.Path = rewritten(m, pathRewrite{a.GetPrefixRewrite(), a.GetRegexRewrite()}, r.Path)
	out.Host = r.Host
	for _, m := range a.GetRequestMirrorPolicies() {
		if out.Mirrors == nil {
			out.Mirrors = make(map[string]uint32)
		}
		out.Mirrors[m.GetCluster()] += millionths(m.GetRuntimeFraction().GetDefaultValue())
	}
	switch h := a.GetHostRewriteSpecifier().(type) {
	case nil:
	case *routev3.RouteAction_HostRewriteLiteral:
		out.Host = h.HostRewriteLiteral
	case *routev3.RouteAction_HostRewriteHeader:
		if value := r.Headers[strings.ToLower(h.HostRewriteHeader)]; value != "" {
			out.Host = value
		}
	default:
		out.Unsupported = "route.host_rewrite_specifier"
		return
	}
	switch c := a.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		out.Clusters = map[string]uint32{c.Cluster: 1}
	case *routev3.RouteAction_ClusterHeader:
		out.Clusters = map[string]uint32{r.Headers[strings.ToLower(c.ClusterHeader)]: 1}
	case *routev3.RouteAction_WeightedClusters:
		shares(out, c.WeightedClusters, a.GetHostRewriteSpecifier() == nil)
	default:
		out.Unsupported = "route.cluster_specifier"
	}
}

// shares fills in the weights of the clusters. The Host header that a cluster
// asks for counts only if the route does not set one, which Envoy does last.
func shares(out *Answer, w *routev3.WeightedCluster, ownHost bool) {
	out.Clusters = make(map[string]uint32)
	for _, c := range w.GetClusters() {
		if c.GetWeight().GetValue() == 0 {
			continue
		}
		out.Clusters[c.GetName()] += c.GetWeight().GetValue()
		if host := c.GetHostRewriteLiteral(); host != "" && ownHost {
			if out.Hosts == nil {
				out.Hosts = make(map[string]string)
			}
			out.Hosts[c.GetName()] = host
		}
	}
}

// pathRewrite is how a path changes: at most one of the two is set.
type pathRewrite struct {
	prefix string
	regex  *matcherv3.RegexMatchAndSubstitute
}

// rewritten returns path after rw; the query stays. A prefix rewrite replaces
// what the match consumed: the prefix, the exact path, the path under a regex.
func rewritten(m *routev3.RouteMatch, rw pathRewrite, path string) string {
	only := pathOnly(path)
	if rw.regex != nil {
		return replaceAll(rw.regex, only) + path[len(only):]
	}
	if rw.prefix == "" {
		return path
	}
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return rw.prefix + path[min(len(p.Prefix), len(path)):]
	case *routev3.RouteMatch_PathSeparatedPrefix:
		return rw.prefix + path[min(len(p.PathSeparatedPrefix), len(path)):]
	}
	return rw.prefix + path[len(only):]
}

// replaceAll replaces every match, with \0 to \9 for the groups.
func replaceAll(rw *matcherv3.RegexMatchAndSubstitute, path string) string {
	re, err := regexp.Compile(rw.GetPattern().GetRegex())
	if err != nil {
		return path
	}
	var template strings.Builder
	s := rw.GetSubstitution()
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '$':
			template.WriteString("$$")
		case s[i] == '\\' && i+1 < len(s):
			if i++; s[i] == '\\' {
				template.WriteByte('\\')
			} else {
				template.WriteString("${" + s[i:i+1] + "}")
			}
		default:
			template.WriteByte(s[i])
		}
	}
	return re.ReplaceAllString(path, template.String())
}

// location returns where a redirect leads. The client's host is kept with its
// port, unless the redirect has a port or host, or leaves the scheme whose
// default port it is.
//
// Source: Envoy, RedirectAction.
func location(m *routev3.RouteMatch, a *routev3.RedirectAction, r Request) string {
	scheme := r.Scheme
	switch {
	case a.GetSchemeRedirect() != "":
		scheme = a.GetSchemeRedirect()
	case a.GetHttpsRedirect():
		scheme = "https"
	}
	port := ""
	if a.GetPortRedirect() != 0 {
		port = ":" + strconv.FormatUint(uint64(a.GetPortRedirect()), 10)
	}
	host := a.GetHostRedirect()
	if host == "" {
		host = keptHost(r, scheme, port)
	}
	return scheme + "://" + host + port + redirectPath(m, a, r.Path)
}

// keptHost returns the client's host, without its port where another follows or
// where it was the default of a scheme that is left.
func keptHost(r Request, scheme, port string) string {
	colon := portStart(r.Host)
	if colon < 0 {
		return r.Host
	}
	own := r.Host[colon:]
	left := scheme != r.Scheme && ((r.Scheme == "http" && own == ":80") || (r.Scheme == "https" && own == ":443"))
	if port != "" || left {
		return r.Host[:colon]
	}
	return r.Host
}

// redirectPath returns the path of a Location. A replaced path keeps the
// client's query unless it has one of its own.
func redirectPath(m *routev3.RouteMatch, a *routev3.RedirectAction, path string) string {
	if a.GetPathRedirect() != "" {
		out := a.GetPathRedirect()
		if strings.Contains(out, "?") || a.GetStripQuery() {
			return out
		}
		return out + path[len(pathOnly(path)):]
	}
	out := rewritten(m, pathRewrite{a.GetPrefixRewrite(), a.GetRegexRewrite()}, path)
	if a.GetStripQuery() {
		return pathOnly(out)
	}
	return out
}

func redirectStatus(c routev3.RedirectAction_RedirectResponseCode) uint32 {
	switch c {
	case routev3.RedirectAction_FOUND:
		return 302
	case routev3.RedirectAction_SEE_OTHER:
		return 303
	case routev3.RedirectAction_TEMPORARY_REDIRECT:
		return 307
	case routev3.RedirectAction_PERMANENT_REDIRECT:
		return 308
	}
	return 301
}
