package sim_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegw/sluice/xds/sim"
)

// tree writes a virtual host whose matcher looks a header up in a map.
func tree(header, kind, leaves, otherwise string) string {
	return `virtual_hosts: [{name: v, domains: ['*'], matcher: {matcher_tree: {input: {name: i, typed_config: {
  '@type': type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: '` + header + `'}},
  ` + kind + `: {map: {` + leaves + `}}}` + otherwise + `}}]`
}

// leaf writes a list of routes that match by what is given and answer 200.
func leaf(routes string) string {
	return `{action: {name: a, typed_config: {'@type': type.googleapis.com/envoy.config.route.v3.RouteList, routes: [` + routes + `]}}}`
}

func named(name, match string) string {
	return "{name: " + name + ", match: " + match + ", direct_response: {status: 200}}"
}

func TestMatcher(t *testing.T) {
	paths := tree(":path", "prefix_match_map",
		"/a: "+leaf(named("a1", "{path: /a}")+","+named("a2", "{prefix: /a/}"))+", /a/b: "+leaf(named("b", "{path: /a/b}")),
		", on_no_match: "+leaf(named("else", "{prefix: /}")+","+named("connect", "{connect_matcher: {}}")))
	single := `{action: {name: a, typed_config: {'@type': type.googleapis.com/envoy.config.route.v3.Route, ` +
		`name: one, match: {prefix: /}, direct_response: {status: 200}}}}`
	header := tree("X-A", "exact_match_map", "v: "+single, "")
	nested := tree("x-a", "exact_match_map", "v: {matcher: {}}", "")
	for _, c := range []struct {
		name, table string
		request     sim.Request
		route       string
		unsupported string
	}{
		{"the leaf's own match", paths, sim.Request{Path: "/a?q"}, "a1", ""},
		{"the order of a leaf", paths, sim.Request{Path: "/a/c"}, "a2", ""},
		{"the longest prefix", paths, sim.Request{Path: "/a/b"}, "b", ""},
		{"no way back to a shorter prefix", paths, sim.Request{Path: "/a/bc"}, "", ""},
		{"none of the prefixes", paths, sim.Request{Path: "/b"}, "else", ""},
		{"no path at all", paths, sim.Request{Method: "CONNECT"}, "connect", ""},
		{"an exact value", header, sim.Request{Headers: map[string]string{"x-a": "v"}}, "one", ""},
		{"another value, and nothing else", header, sim.Request{Headers: map[string]string{"x-a": "vv"}}, "", ""},
		{"a missing header", header, sim.Request{}, "", ""},
		{
			"a matcher in a leaf", nested,
			sim.Request{Headers: map[string]string{"x-a": "v"}},
			"",
			"virtual_hosts.matcher: leaf is neither a route nor a list of routes",
		},
	} {
		got := sim.Routes(parse(t, c.table), c.request)
		if got.Route != c.route || got.Unsupported != c.unsupported || (c.route == "") != (got.Status != 200) {
			t.Errorf("%s: got %+v, want route %q", c.name, got, c.route)
		}
	}
}

func TestWhatComesWithARoute(t *testing.T) {
	table := `virtual_hosts: [{name: v, domains: ['*'], routes: [{name: r, match: {prefix: /}, stat_prefix: s,
  typed_per_filter_config: {
    sluice.cors: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy},
    sluice.fault: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault,
      delay: {fixed_delay: 2s, percentage: {numerator: 50}}, abort: {grpc_status: 14, percentage: {numerator: 5, denominator: TEN_THOUSAND}}}},
  route: {cluster: c, request_mirror_policies: [{cluster: m, runtime_fraction: {default_value: {numerator: 7, denominator: MILLION}}}]}}]}]`
	want := sim.Answer{
		VirtualHost: "v", Route: "r", StatPrefix: "s", Path: "/", CORS: true,
		Clusters: map[string]uint32{"c": 1}, Mirrors: map[string]uint32{"m": 7},
		Fault: &sim.Fault{Delay: 2e9, DelayShare: 500_000, AbortShare: 500, Status: 14, GRPC: true},
	}
	if diff := cmp.Diff(want, sim.Routes(parse(t, table), sim.Request{})); diff != "" {
		t.Errorf("answer differs (-want +got):\n%s", diff)
	}
}
