package sim_test

import (
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"github.com/sluicegw/sluice/xds/sim"
)

// parse reads a RouteConfiguration written as YAML.
func parse(t testing.TB, text string) *routev3.RouteConfiguration {
	t.Helper()
	js, err := yaml.YAMLToJSON([]byte(strings.ReplaceAll(text, "\t", "  ")))
	if err != nil {
		t.Fatal(err)
	}
	rc := &routev3.RouteConfiguration{}
	if err := protojson.Unmarshal(js, rc); err != nil {
		t.Fatal(err)
	}
	return rc
}

// host returns a virtual host that answers with its domain.
func host(domain string) string {
	return "- {name: '" + domain + "', domains: ['" + domain + "'], routes: [{name: '" + domain +
		"', match: {prefix: /}, direct_response: {status: 200}}]}\n"
}

func TestHostPrecedence(t *testing.T) {
	text := "ignore_port_in_host_matching: true\nvirtual_hosts:\n"
	for _, d := range []string{"*", "*.com", "a.*", "a.foo.*", "*.foo.com", "*-x.foo.com", "a.foo.com", "d.foo.com.", "[::1]"} {
		text += host(d)
	}
	rc := parse(t, text)
	for request, want := range map[string]string{
		"a.foo.com":       "a.foo.com",
		"a.foo.com:8080":  "a.foo.com",
		"A.Foo.COM":       "a.foo.com",
		"D.foo.com.:8080": "d.foo.com.",
		"d.foo.com":       "*.foo.com", // the dot counts
		"a.foo.com.":      "a.foo.*",
		"b.foo.com":       "*.foo.com",
		"b.c.foo.com":     "*.foo.com",
		"y-x.foo.com":     "*-x.foo.com", // the longer suffix, though no whole label
		"-x.foo.com":      "*.foo.com",   // a wildcard is at least one character
		"foo.com":         "*.com",       // *.foo.com does not take foo.com
		".foo.com":        "*.com",
		"a.foo.org":       "a.foo.*",
		"a.bar.org":       "a.*",
		"a.bar.com":       "*.com", // suffix before prefix, whatever the length
		"other":           "*",
		"[::1]:8080":      "[::1]",
		"":                "*",
	} {
		if got := sim.Routes(rc, sim.Request{Host: request}).Route; got != want {
			t.Errorf("host %q is answered by %q, want %q", request, got, want)
		}
	}
}

func TestPortCountsUnlessIgnored(t *testing.T) {
	rc := parse(t, "virtual_hosts:\n"+host("a.foo.com")+host("b.foo.com:8080"))
	for request, want := range map[string]uint32{
		"a.foo.com": 200, "a.foo.com:8080": 404, "b.foo.com:8080": 200, "b.foo.com": 404,
	} {
		if got := sim.Routes(rc, sim.Request{Host: request}).Status; got != want {
			t.Errorf("host %q gets %d, want %d", request, got, want)
		}
	}
}

// matchCase is one match and what fits it.
type matchCase struct {
	name  string
	match string
	yes   []sim.Request
	no    []sim.Request
}

func paths(p ...string) []sim.Request {
	var out []sim.Request
	for _, path := range p {
		out = append(out, sim.Request{Path: path})
	}
	return out
}

func header(values ...string) []sim.Request {
	var out []sim.Request
	for _, v := range values {
		out = append(out, sim.Request{Headers: map[string]string{"X-A": v}})
	}
	return out
}

func TestMatch(t *testing.T) {
	none := []sim.Request{{}}
	cases := []matchCase{
		{"prefix is of the string", "{prefix: /foo}", paths("/foo", "/foobar", "/foo?x"), paths("/", "/FOO", "/x/foo")},
		{"prefix without case", "{prefix: /Foo, case_sensitive: false}", paths("/fOO/x"), paths("/fo")},
		{"path is exact without the query", "{path: /foo}", paths("/foo", "/foo?a=b"), paths("/foo/", "/foobar")},
		{"separated prefix", "{path_separated_prefix: /foo}", paths("/foo", "/foo/x", "/foo?x"), paths("/foobar")},
		{"regex takes the whole path", "{safe_regex: {regex: '/a|/abc'}}", paths("/a", "/abc?x"), paths("/ab", "/abcd")},
		{"connect only", "{connect_matcher: {}}", []sim.Request{{Method: "CONNECT"}}, paths("/")},
		{"connect has no path", "{prefix: ''}", paths("/"), []sim.Request{{Method: "CONNECT"}}},
		{"exact header", "{prefix: /, headers: [{name: x-a, string_match: {exact: b}}]}", header("b"), append(header("B", "bb"), none...)},
		{"header without case", "{prefix: /, headers: [{name: x-a, string_match: {exact: b, ignore_case: true}}]}", header("B"), header("c")},
		{"header prefix", "{prefix: /, headers: [{name: x-a, string_match: {prefix: b}}]}", header("b", "bc"), header("cb")},
		{"header suffix", "{prefix: /, headers: [{name: x-a, string_match: {suffix: b}}]}", header("b", "cb"), header("bc")},
		{"header contains", "{prefix: /, headers: [{name: x-a, string_match: {contains: b}}]}", header("cbc"), header("c")},
		{"header regex", "{prefix: /, headers: [{name: x-a, string_match: {safe_regex: {regex: 'b+'}}}]}", header("bb"), header("bbc", "")},
		{"header range", "{prefix: /, headers: [{name: x-a, range_match: {start: 1, end: 3}}]}", header("1", "2"), header("3", "x", "")},
		{"present", "{prefix: /, headers: [{name: x-a, present_match: true}]}", header("", "b"), none},
		{"absent", "{prefix: /, headers: [{name: x-a, present_match: true, invert_match: true}]}", none, header("", "b")},
		{"inverted fails the missing", "{prefix: /, headers: [{name: x-a, string_match: {exact: b}, invert_match: true}]}", header("c"), append(header("b"), none...)},
		{
			"inverted, the missing is empty",
			"{prefix: /, headers: [{name: x-a, string_match: {exact: b}, invert_match: true, treat_missing_header_as_empty: true}]}",
			append(header("c"), none...), header("b"),
		},
		{"method", "{prefix: /, headers: [{name: ':method', string_match: {exact: POST}}]}", []sim.Request{{Method: "POST"}}, none},
		{"query", "{prefix: /, query_parameters: [{name: q, string_match: {exact: '1'}}]}", paths("/?q=1", "/?x&q=1", "/?q=1&q=2"), paths("/", "/?q=2&q=1", "/?q")},
		{"query present", "{prefix: /, query_parameters: [{name: q, present_match: true}]}", paths("/?q", "/?q=", "/?a=b&q=c"), paths("/?qq=1", "/")},
		{"query is not decoded", "{prefix: /, query_parameters: [{name: q, string_match: {exact: 'a b'}}]}", nil, paths("/?q=a%20b", "/?q=a+b")},
		{"all conditions", "{prefix: /, headers: [{name: x-a, present_match: true}], query_parameters: [{name: q, present_match: true}]}", nil, append(paths("/?q"), header("a")...)},
	}
	for _, c := range cases {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			rc := parse(t, "virtual_hosts: [{name: v, domains: ['*'], routes: [{name: r, match: "+c.match+", direct_response: {status: 200}}]}]")
			for _, r := range c.yes {
				if got := sim.Routes(rc, r); got.Route != "r" {
					t.Errorf("%+v does not match: %+v", r, got)
				}
			}
			for _, r := range c.no {
				if got := sim.Routes(rc, r); got.Status != 404 || got.Unsupported != "" {
					t.Errorf("%+v matches: %+v", r, got)
				}
			}
		})
	}
}

// actionCase is one route and what it makes of a request.
type actionCase struct {
	name, route string
	request     sim.Request
	want        sim.Answer
}

func playActions(t *testing.T, cases []actionCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			rc := parse(t, "virtual_hosts: [{name: v, domains: ['*'], routes: ["+c.route+"]}]")
			c.want.VirtualHost = "v"
			if diff := cmp.Diff(c.want, sim.Routes(rc, c.request)); diff != "" {
				t.Errorf("answer differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestForwardAndDirect(t *testing.T) {
	playActions(t, []actionCase{
		{
			"direct response", "{match: {prefix: /}, direct_response: {status: 403, body: {inline_string: denied}}, response_headers_to_add: [{header: {key: X-Why, value: w}}]}",
			sim.Request{},
			sim.Answer{Status: 403, Body: "denied", ResponseHeaders: map[string]string{"x-why": "w"}},
		},
		{
			"prefix rewrite joins as is", "{match: {prefix: /foo}, route: {cluster: c, prefix_rewrite: /}}",
			sim.Request{Path: "/foo/bar?q=1", Host: "h:1"},
			sim.Answer{Clusters: map[string]uint32{"c": 1}, Path: "//bar?q=1", Host: "h:1"},
		},
		{
			"exact rewrite keeps the query", "{match: {path: /foo}, route: {cluster: c, prefix_rewrite: /x}}",
			sim.Request{Path: "/foo?q=1"},
			sim.Answer{Clusters: map[string]uint32{"c": 1}, Path: "/x?q=1"},
		},
		{
			"prefix rewrite under a regex replaces the path", "{match: {safe_regex: {regex: '/f.*'}}, route: {cluster: c, prefix_rewrite: /x}}",
			sim.Request{Path: "/foo/bar?q=1"},
			sim.Answer{Clusters: map[string]uint32{"c": 1}, Path: "/x?q=1"},
		},
		{
			"regex rewrite replaces every match", `{match: {prefix: /}, route: {cluster: c, regex_rewrite: {pattern: {regex: 'v(\d)'}, substitution: '$\1\\'}}}`,
			sim.Request{Path: "/v1/v2?v3"},
			sim.Answer{Clusters: map[string]uint32{"c": 1}, Path: `/$1\/$2\?v3`},
		},
		{
			"weights and hosts", "{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a, weight: 1, host_rewrite_literal: x}, {name: b, weight: 3}, {name: a, weight: 2}, {name: z, weight: 0}]}}}",
			sim.Request{Host: "h"},
			sim.Answer{Clusters: map[string]uint32{"a": 3, "b": 3}, Hosts: map[string]string{"a": "x"}, Path: "/", Host: "h"},
		},
		{
			"host of the route beats that of a cluster", "{match: {prefix: /}, route: {host_rewrite_literal: r, weighted_clusters: {clusters: [{name: a, weight: 1, host_rewrite_literal: x}]}}}",
			sim.Request{Host: "h"},
			sim.Answer{Clusters: map[string]uint32{"a": 1}, Path: "/", Host: "r"},
		},
		{
			"what it cannot play it names", "{match: {prefix: /, runtime_fraction: {default_value: {numerator: 1}}}, route: {cluster: c}}",
			sim.Request{},
			sim.Answer{Unsupported: "route.match.runtime_fraction"},
		},
	})
}

func TestRedirect(t *testing.T) {
	playActions(t, []actionCase{
		{
			"redirect keeps the port of the client", "{match: {prefix: /}, redirect: {scheme_redirect: https}}",
			sim.Request{Host: "h:8080", Path: "/a?b"},
			sim.Answer{Status: 301, Location: "https://h:8080/a?b"},
		},
		{
			"redirect drops the default port of the scheme it leaves", "{match: {prefix: /}, redirect: {https_redirect: true, response_code: FOUND}}",
			sim.Request{Host: "h:80"},
			sim.Answer{Status: 302, Location: "https://h/"},
		},
		{
			"redirect with a port", "{match: {prefix: /}, redirect: {port_redirect: 8443, response_code: PERMANENT_REDIRECT}}",
			sim.Request{Host: "[::1]:8080"},
			sim.Answer{Status: 308, Location: "http://[::1]:8443/"},
		},
		{
			"redirect path keeps the query", "{match: {prefix: /}, redirect: {host_redirect: o, path_redirect: /n, response_code: SEE_OTHER}}",
			sim.Request{Host: "h", Path: "/a?b=c"},
			sim.Answer{Status: 303, Location: "http://o/n?b=c"},
		},
		{
			"redirect path with a query of its own", "{match: {prefix: /}, redirect: {path_redirect: '/n?x', response_code: TEMPORARY_REDIRECT}}",
			sim.Request{Host: "h", Path: "/a?b=c"},
			sim.Answer{Status: 307, Location: "http://h/n?x"},
		},
		{
			"redirect rewrites the prefix", "{match: {prefix: /a}, redirect: {prefix_rewrite: /b, strip_query: true}}",
			sim.Request{Host: "h", Path: "/a/c?b=c"},
			sim.Answer{Status: 301, Location: "http://h/b/c"},
		},
	})
}

func TestRequireTLS(t *testing.T) {
	rc := parse(t, "virtual_hosts: [{name: v, domains: ['*'], require_tls: ALL, routes: [{match: {path: /a}, route: {cluster: c}}]}]")
	plain := sim.Routes(rc, sim.Request{Host: "h:80", Path: "/b?c"})
	if plain.Status != 301 || plain.Location != "https://h:80/b?c" {
		t.Errorf("a plain request, route or not, gets %d to %q", plain.Status, plain.Location)
	}
	if tls := sim.Routes(rc, sim.Request{Scheme: "https", Path: "/a"}); tls.Clusters["c"] != 1 {
		t.Errorf("an https request gets %+v", tls)
	}
}

func TestScoped(t *testing.T) {
	scopes := map[string]*routev3.RouteConfiguration{}
	add := func(key, route string) {
		scopes[key] = parse(t, "virtual_hosts: [{name: v, domains: ['*'], routes: ["+route+"]}]")
	}
	for _, key := range []string{"t/a.foo.com", "t/*.foo.com", "t/*.b.foo.com", "t/*", "t/[::1]", "u/only.org", "u/*.b.foo.com"} {
		add(key, "{name: '"+key+"', match: {prefix: /}, route: {cluster: c}}")
	}
	add("t/none.foo.com", "{name: x, match: {path: /x}, route: {cluster: c}}")
	for _, c := range []struct{ table, host, path, want string }{
		{"t", "a.foo.com", "/", "t/a.foo.com"},
		{"t", "a.foo.com:8080", "/", "t/a.foo.com"},
		{"t", "A.Foo.com.:8080", "/", "t/a.foo.com"},
		{"t", "c.foo.com", "/", "t/*.foo.com"},
		{"t", "x.y.foo.com", "/", "t/*.foo.com"},
		{"t", "C.b.foo.com", "/", "t/*.b.foo.com"},
		{"t", "b.foo.com", "/", "t/*.foo.com"},
		{"t", "foo.com", "/", "t/*"},
		{"t", "only.org", "/", "t/*"}, // another table's host
		{"t", "[::1]:8080", "/", "t/[::1]"},
		{"t", "", "/", "t/*"},
		{"t", "none.foo.com", "/x", "t/none.foo.com"},
		{"t", "none.foo.com", "/", "t/none.foo.com"}, // 404, not the wildcard
		{"u", "foo.com", "/", ""},
	} {
		got := sim.Scoped(c.table, scopes, sim.Request{Host: c.host, Path: c.path})
		if got.Scope != c.want {
			t.Errorf("host %q of table %s is answered by scope %q, want %q", c.host, c.table, got.Scope, c.want)
		}
		if got.Clusters != nil && got.Host != c.host {
			t.Errorf("host %q reaches the destination as %q", c.host, got.Host)
		}
	}
	if got := sim.Scoped("t", scopes, sim.Request{Host: "none.foo.com"}); got.Status != 404 {
		t.Errorf("an exact host without a matching path gets %+v", got)
	}
}
