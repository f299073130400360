package sim_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/xds/sim"
)

// TestAgainstEnvoy sends generated requests through generated route tables and
// wants the same answer from the real Envoy and from this package.
func TestAgainstEnvoy(t *testing.T) {
	const perTable = 120
	g := generator{rand.New(rand.NewPCG(3, 1))}
	var tables []*routev3.RouteConfiguration
	for i := range 8 {
		tables = append(tables, g.table(fmt.Sprintf("table-%d", i)))
	}
	e := startEnvoy(t, tables)
	kinds := map[string]int{}
	for _, rc := range tables {
		for range perTable {
			r := g.request()
			want := sim.Routes(rc, r)
			got := e.call(t, rc.GetName(), r)
			if problem := compare(want, got); problem != "" {
				t.Errorf("%s, %+v: %s\nsim   %+v\nenvoy %+v", rc.GetName(), r, problem, want, got)
			}
			kinds[kind(want)]++
		}
	}
	t.Logf("compared %v", kinds)
	for _, k := range []string{"404", "redirect", "direct", "cluster", "split"} {
		if kinds[k] < 20 {
			t.Errorf("only %d answers of kind %s: the generator proves little", kinds[k], k)
		}
	}
}

func kind(a sim.Answer) string {
	switch {
	case a.Location != "":
		return "redirect"
	case len(a.Clusters) > 1:
		return "split"
	case a.Clusters != nil:
		return "cluster"
	case a.Status == 404:
		return "404"
	}
	return "direct"
}

// compare returns the first difference, "" if there is none.
func compare(want sim.Answer, got reply) string {
	switch {
	case want.Unsupported != "":
		return "not supported: " + want.Unsupported
	case want.Route != got.route:
		return "route"
	case want.Route != "" && want.VirtualHost != got.host:
		return "virtual host"
	case want.Clusters == nil:
		if want.Status != got.status || want.Location != got.location {
			return "status or location"
		}
		if want.Location == "" && want.Body != got.body {
			return "body"
		}
		return ""
	case got.status == 503:
		if want.Clusters["missing"] == 0 {
			return "a cluster that is there answers 503"
		}
		if len(want.Clusters) > 1 && got.reason != "gone" {
			return "the missing share does not say why"
		}
		return ""
	case want.Clusters[got.cluster] == 0 || got.status != 200:
		return "cluster"
	case want.Path != got.upstream.Path:
		return "path at the destination"
	}
	host := want.Host
	if own := want.Hosts[got.cluster]; own != "" {
		host = own
	}
	if host != got.upstream.Host {
		return "host at the destination"
	}
	return ""
}

// generator draws tables and requests from small pools, so that they meet.
type generator struct{ *rand.Rand }

func pick[T any](g generator, of ...T) T { return of[g.IntN(len(of))] }

func (g generator) table(name string) *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{
		Name:                     name,
		IgnorePortInHostMatching: g.IntN(3) > 0,
		ValidateClusters:         wrapperspb.Bool(false),
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{
			responseHeader("x-route", "%ROUTE_NAME%"), responseHeader("x-cluster", "%UPSTREAM_CLUSTER%"),
		},
	}
	domains := []string{"a.foo.com", "b.foo.com:8080", "*.foo.com", "*.b.foo.com", "*-x.foo.com", "a.*", "a.foo.*", "*.com", "a.foo.com."}
	if g.IntN(2) == 0 {
		domains = append(domains, "*")
	}
	g.Shuffle(len(domains), func(i, j int) { domains[i], domains[j] = domains[j], domains[i] })
	for i, d := range domains {
		vh := &routev3.VirtualHost{
			Name: d, Domains: []string{d},
			ResponseHeadersToAdd: []*corev3.HeaderValueOption{responseHeader("x-host", d)},
		}
		if g.IntN(10) == 0 {
			vh.RequireTls = routev3.VirtualHost_ALL
		}
		for j := range 3 + g.IntN(4) {
			vh.Routes = append(vh.Routes, g.route(fmt.Sprintf("r%d-%d", i, j)))
		}
		rc.VirtualHosts = append(rc.VirtualHosts, vh)
	}
	return rc
}

func responseHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}}
}

func (g generator) route(name string) *routev3.Route {
	out := &routev3.Route{Name: name, Match: g.match()}
	switch g.IntN(5) {
	case 0:
		out.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: pick[uint32](g, 200, 403, 418),
			Body:   &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "direct " + name}},
		}}
	case 1:
		out.Action = &routev3.Route_Redirect{Redirect: g.redirect()}
	default:
		out.Action = &routev3.Route_Route{Route: g.action()}
	}
	return out
}

func (g generator) match() *routev3.RouteMatch {
	out := &routev3.RouteMatch{}
	switch g.IntN(8) {
	case 0:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: pick(g, "/", "/foo", "/Foo/Bar", "/v1/x")}
	case 1:
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: pick(g, "/foo", "/v1")}
	case 2, 3:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{
			Regex: pick(g, ".*", "/foo", "/foo|/v1/x", `/v\d/.*`, "/(foo|bar)/?", "/f"),
		}}
	default:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: pick(g, "/", "/foo", "/foo/", "/FOO", "/v1", "/v2/")}
	}
	if _, regex := out.GetPathSpecifier().(*routev3.RouteMatch_SafeRegex); !regex && g.IntN(4) == 0 {
		out.CaseSensitive = wrapperspb.Bool(false)
	}
	for range max(0, g.IntN(4)-1) {
		out.Headers = append(out.Headers, g.header())
	}
	if g.IntN(4) == 0 {
		out.QueryParameters = append(out.QueryParameters, g.query())
	}
	return out
}

func (g generator) header() *routev3.HeaderMatcher {
	out := &routev3.HeaderMatcher{Name: pick(g, "x-a", "X-B", ":method", ":authority", ":scheme"), InvertMatch: g.IntN(3) == 0}
	switch g.IntN(5) {
	case 0:
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: g.IntN(3) > 0}
		return out
	case 1:
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_RangeMatch{RangeMatch: &typev3.Int64Range{Start: 1, End: 5}}
	default:
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: g.str()}
	}
	out.TreatMissingHeaderAsEmpty = g.IntN(2) == 0
	return out
}

func (g generator) str() *matcherv3.StringMatcher {
	out := &matcherv3.StringMatcher{}
	switch g.IntN(5) {
	case 0:
		out.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: pick(g, "", "one", "Two", "GET", "http", "a.foo.com")}
	case 1:
		out.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: pick(g, "o", "a.", "h", "G")}
	case 2:
		out.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: pick(g, "e", ".com", "s", "T")}
	case 3:
		out.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: pick(g, "n", "foo", "t")}
	default:
		out.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{
			Regex: pick(g, "one|two", "o", `\d+`, ".*", "GET|POST", `[^.]+\.foo\.com`),
		}}
		return out
	}
	out.IgnoreCase = g.IntN(3) == 0
	return out
}

func (g generator) query() *routev3.QueryParameterMatcher {
	out := &routev3.QueryParameterMatcher{Name: pick(g, "q", "p")}
	if g.IntN(2) == 0 {
		out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
	} else {
		out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: g.str()}
	}
	return out
}

func (g generator) redirect() *routev3.RedirectAction {
	out := &routev3.RedirectAction{
		HostRedirect: pick(g, "", "", "other.org"),
		PortRedirect: pick[uint32](g, 0, 0, 80, 8443),
		ResponseCode: routev3.RedirectAction_RedirectResponseCode(g.IntN(5)),
		StripQuery:   g.IntN(3) == 0,
	}
	switch g.IntN(3) {
	case 0:
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_HttpsRedirect{HttpsRedirect: true}
	case 1:
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: pick(g, "http", "https")}
	}
	switch g.IntN(4) {
	case 0:
		out.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: pick(g, "/new", "/new?own=1")}
	case 1:
		out.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: pick(g, "/", "/new/")}
	case 2:
		out.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: g.regexRewrite()}
	}
	return out
}

func (g generator) regexRewrite() *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{
		Pattern:      &matcherv3.RegexMatcher{Regex: pick(g, "o", "^/([^/]*)", `v(\d)`, "x*", "^/foo(/|$)")},
		Substitution: pick(g, "/-", `/\0$1`, `/\\`, "/"),
	}
}

func (g generator) action() *routev3.RouteAction {
	out := &routev3.RouteAction{}
	switch g.IntN(4) {
	case 0:
		out.PrefixRewrite = pick(g, "/", "/new", "/new/")
	case 1:
		out.RegexRewrite = g.regexRewrite()
	}
	if g.IntN(4) == 0 {
		out.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: "up.org"}
	}
	if g.IntN(2) == 0 {
		out.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: pick(g, "c1", "c2", "missing")}
		return out
	}
	split := &routev3.WeightedCluster{}
	for _, name := range []string{"c1", "c2", "missing"} {
		w := &routev3.WeightedCluster_ClusterWeight{Name: name, Weight: wrapperspb.UInt32(uint32(1 + g.IntN(3)))}
		if name == "missing" {
			w.ResponseHeadersToAdd = []*corev3.HeaderValueOption{responseHeader("x-reason", "gone")}
		} else if g.IntN(3) == 0 {
			w.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: name + ".org"}
		}
		split.Clusters = append(split.Clusters, w)
	}
	out.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: split}
	return out
}

func (g generator) request() sim.Request {
	r := sim.Request{
		Scheme: pick(g, "http", "http", "https"),
		Host: pick(g, "a.foo.com", "a.foo.com:8080", "A.Foo.com", "a.foo.com.", "a.foo.com.:80", "b.foo.com:8080", "b.foo.com",
			"c.b.foo.com", "y-x.foo.com", "-x.foo.com", "foo.com", "a.foo.org", "a.bar.org:443", "other.net", "[::1]:8080", "a.b.c.foo.com:80"),
		Method: pick(g, "GET", "GET", "POST"),
		Path: pick(g, "/", "/foo", "/foo/", "/foo/bar?q=one", "/FOO/bar", "/Foo/Bar?p", "/foobar?q=&p=two", "/v1/x", "/v1/x?q=two&q=one",
			"/v2/xx/v1?v3=xo", "/f?p=one", "/bar?", "/?q", "/a//b?q=Two"),
		Headers: map[string]string{},
	}
	if g.IntN(2) == 0 {
		r.Headers["x-a"] = pick(g, "one", "Two", "4", "", "o")
	}
	if g.IntN(3) == 0 {
		r.Headers["x-b"] = pick(g, "one", "ONE", "7", "none")
	}
	return r
}
