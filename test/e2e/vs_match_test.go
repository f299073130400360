package e2e

import (
	"strings"
	"testing"
)

// matching is one match of a rule, and which requests it takes; the others go
// on to the rule behind.
type matching struct {
	name, match string
	hits        []query
	misses      []query
	hosts       string // of the virtual service; by default one of its own
}

func pathMatches() []matching {
	get := func(paths ...string) (out []query) {
		for _, p := range paths {
			out = append(out, query{path: p})
		}
		return out
	}
	return []matching{
		{name: "uri exact", match: "{uri: {exact: /a}}", hits: get("/a", "/a?q=1"), misses: get("/a/", "/A", "/")},
		{name: "uri prefix", match: "{uri: {prefix: /a}}", hits: get("/a", "/ab", "/a/b"), misses: get("/A", "/b/a")},
		{name: "uri of an empty prefix", match: "{uri: {prefix: ''}}", hits: get("/a", "/", "/?q")},
		{name: "uri in its normal form", match: "{uri: {exact: /adm~/b%C3%A4}}", hits: get("//%61dm%7e/./x/../b%C3%A4", "/adm~/b\xc3\xa4"), misses: get("/adm~/b")},
		{name: "uri regex", match: "{uri: {regex: '/a[0-9]+'}}", hits: get("/a1", "/a12?q"), misses: get("/a", "/a1b", "/b/a1")},
		{name: "exact of any case", match: "{uri: {exact: /a}, ignoreUriCase: true}", hits: get("/a", "/A"), misses: get("/Ab")},
		{name: "prefix of any case", match: "{uri: {prefix: /ab}, ignoreUriCase: true}", hits: get("/aBc"), misses: get("/a")},
		{name: "alternatives", match: "{uri: {exact: /a}}, {uri: {exact: /b}}", hits: get("/a", "/b"), misses: get("/c")},
		{name: "query exact", match: "{queryParams: {q: {exact: a}}}", hits: get("/?q=a", "/?p&q=a"), misses: get("/?q=ab", "/?Q=a", "/q=a", "/")},
		{name: "query prefix", match: "{queryParams: {q: {prefix: a}}}", hits: get("/?q=a", "/?q=ab"), misses: get("/?q=ba", "/")},
		{name: "query regex", match: "{queryParams: {q: {regex: 'a+'}}}", hits: get("/?q=aa"), misses: get("/?q=ab", "/?q=")},
		{name: "query present", match: "{queryParams: {q: {}}}", hits: get("/?q=a", "/?q="), misses: get("/?p=q")},
	}
}

func headerMatches() []matching {
	with := func(headers ...string) (out []query) {
		for _, h := range headers {
			out = append(out, query{headers: h})
		}
		return out
	}
	return []matching{
		{name: "header exact", match: "{headers: {X-A: {exact: b}}}", hits: with("x-a: b", "X-A: b"), misses: with("x-a: B", "x-a: bc", "")},
		{name: "header prefix", match: "{headers: {x-a: {prefix: b}}}", hits: with("x-a: b", "x-a: bc"), misses: with("x-a: cb", "")},
		{name: "header regex", match: "{headers: {x-a: {regex: 'b+'}}}", hits: with("x-a: bb"), misses: with("x-a: abb", "")},
		{name: "header present", match: "{headers: {x-a: {}}}", hits: with("x-a: b"), misses: with("x-b: a", "")},
		{name: "header regex star", match: "{headers: {x-a: {regex: '*'}}}", hits: with("x-a: b"), misses: with("")},
		{name: "two headers", match: "{headers: {x-a: {exact: b}, x-c: {exact: d}}}", hits: with("x-a: b\nx-c: d"), misses: with("x-a: b", "x-c: d")},
		{name: "without exact", match: "{withoutHeaders: {x-a: {exact: b}}}", hits: with("", "x-a: c"), misses: with("x-a: b")},
		{name: "without present", match: "{withoutHeaders: {x-a: {}}}", hits: with("", "x-b: c"), misses: with("x-a: b")},
		{name: "without regex", match: "{withoutHeaders: {x-a: {regex: 'b+'}}}", hits: with("", "x-a: c"), misses: with("x-a: bb")},
		{name: "path and header", match: "{uri: {prefix: /}, headers: {x-a: {exact: b}}}", hits: with("x-a: b"), misses: with("")},
	}
}

func requestMatches() []matching {
	any := []query{{}}
	verbs := func(methods ...string) (out []query) {
		for _, m := range methods {
			out = append(out, query{method: m})
		}
		return out
	}
	hosts := func(hosts ...string) (out []query) {
		for _, h := range hosts {
			out = append(out, query{host: h})
		}
		return out
	}
	return []matching{
		{name: "scheme http", match: "{scheme: {exact: http}}", hits: any},
		{name: "scheme https", match: "{scheme: {exact: https}}", misses: any},
		{name: "method exact", match: "{method: {exact: PUT}}", hits: verbs("PUT"), misses: verbs("GET", "POST")},
		{name: "empty method", match: "{method: {prefix: ''}}", hits: verbs("GET", "PUT")},
		{name: "method regex star", match: "{method: {regex: '*'}}", hits: verbs("GET", "PUT")},
		{name: "method regex", match: "{method: {regex: 'P.+'}}", hits: verbs("PUT", "POST"), misses: verbs("GET")},
		{name: "authority exact", match: "{authority: {exact: a.auth.test}}", hosts: "*.auth.test", hits: hosts("a.auth.test"), misses: hosts("b.auth.test")},
		{name: "authority prefix", match: "{authority: {prefix: a.}}", hosts: "*.prefix.test", hits: hosts("a.prefix.test"), misses: hosts("b.a.prefix.test")},
		{name: "port of the server", match: "{port: $PORT}", hits: any},
		{name: "other port", match: "{port: 9}", misses: any},
		{name: "its gateway", match: "{gateways: [edge]}", hits: any},
		{name: "other gateway", match: "{gateways: [other]}", misses: any},
		{name: "mesh", match: "{gateways: [mesh]}", misses: any},
		{name: "labels of the source", match: "{sourceLabels: {app: shop}}", misses: any},
		{name: "namespace of the source", match: "{sourceNamespace: default}", hits: any},
		{name: "other namespace", match: "{sourceNamespace: shop}", misses: any},
		{name: "stat prefix", match: "{statPrefix: counted}", hits: any},
		{name: "claims", match: "{headers: {'@request.auth.claims.group': {exact: admin}}}"},
	}
}

// Every condition of a match, with requests that meet it and that do not.
func TestMatches(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"gateway.yaml": edge("*"),
		"yes.yaml":     service("yes.internal", newOrigin(t, "yes").port),
		"no.yaml":      service("no.internal", newOrigin(t, "no").port),
	}
	all := append(append(pathMatches(), headerMatches()...), requestMatches()...)
	for i, c := range all {
		if all[i].hosts == "" {
			all[i].hosts = "m" + itoa(i) + ".test"
		}
		files["m"+itoa(i)+".yaml"] = routes("m"+itoa(i), all[i].hosts, "  - match: ["+c.match+"]\n"+strings.Replace(to("yes.internal"), "-", " ", 1)+to("no.internal"))
	}
	w := newWorld(t, files).run()
	w.problem("NotYetSupported", "@request.auth.claims.group")
	w.answers(all[len(all)-1].hosts, "/", 500, "NotYetSupported") // and not what is behind
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			for want, queries := range map[string][]query{"yes": c.hits, "no": c.misses} {
				for _, q := range queries {
					if q.host == "" {
						q.host = c.hosts
					}
					if r := w.must(q); r.name() != want {
						t.Errorf("%+v goes to %d %q, want %s", q, r.code, r.line(), want)
					}
				}
			}
		})
	}
}

// Several virtual services share a host: the older's rules come first, but its
// catch-all comes last. What can never match is reported with what shadows it.
func TestMergeOfOneHost(t *testing.T) {
	t.Parallel()
	answer := func(match, code string) string {
		if match != "" {
			match = "    match: [" + match + "]\n"
		}
		return "  - directResponse: {status: " + code + "}\n" + match
	}
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"),
		"1.yaml":       routes("oldest", "merged.test", answer("{uri: {prefix: /one}}", "401")+answer("", "404")),
		"2.yaml":       routes("middle", "merged.test", answer("{uri: {prefix: /one/two}}", "402")+answer("{uri: {prefix: /two}}", "403")),
		"3.yaml":       routes("newest", "merged.test", answer("{uri: {exact: /three}}", "405")+answer("", "406")),
		"4.yaml":       routes("alone", "alone.test", answer("{uri: {prefix: /}}", "407")+answer("{uri: {exact: /x}}", "408")),
	}).run()
	w.problem("UnreachableRule", "VirtualService default/middle", "spec.http[0]", "VirtualService default/oldest", "/one")
	w.problem("UnreachableRule", "VirtualService default/newest", "spec.http[1]", "VirtualService default/oldest")
	w.problem("UnreachableRule", "VirtualService default/alone", "spec.http[1]", "spec.http[0]")
	w.answers("alone.test", "/x", 407, "")
	w.expect([]outcome{
		{query: query{host: "merged.test", path: "/one/two"}, code: 401},
		{query: query{host: "merged.test", path: "/two"}, code: 403},
		{query: query{host: "merged.test", path: "/three"}, code: 405},
		{query: query{host: "merged.test", path: "/else"}, code: 404},
	})
	w.unexpectedProblems("UnreachableRule")
	w.remove("1.yaml")
	w.wait()
	w.expect([]outcome{
		{query: query{host: "merged.test", path: "/one/two"}, code: 402},
		{query: query{host: "merged.test", path: "/else"}, code: 406},
	})
}

// A virtual service is served to the namespaces to which it is exported; what
// is for the mesh waits for it.
func TestVisibilityOfRoutes(t *testing.T) {
	t.Parallel()
	export := func(name, to string) string {
		return routes(name, name+".test", "  - directResponse: {status: 418}\n") + "  exportTo: [" + to + "]\n"
	}
	inMesh := func(name, gateways string) string {
		return strings.Replace(routes(name, name+".test", "  - directResponse: {status: 418}\n"), "gateways: [edge]", gateways, 1)
	}
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"),
		"star.yaml":    export("star", "'*'"),
		"own.yaml":     export("own", "."),
		"named.yaml":   export("named", "default"),
		"other.yaml":   export("other", "shop"),
		"none.yaml":    export("none", "'~'"),
		"both.yaml":    inMesh("both", "gateways: [mesh, edge]"),
		"mesh.yaml":    inMesh("mesh", "gateways: [mesh]"),
		"default.yaml": inMesh("default", "exportTo: ['*']"),
	}).run()
	w.problem("NotVisible", "VirtualService default/other")
	w.problem("NotVisible", "VirtualService default/none")
	w.problem("WaitingForMesh", "VirtualService default/mesh")
	w.problem("WaitingForMesh", "VirtualService default/default")
	for name, code := range map[string]int{
		"star": 418, "own": 418, "named": 418, "both": 418, "other": 404, "none": 404, "mesh": 404, "default": 404,
	} {
		w.answers(name+".test", "/", code, "")
	}
	w.unexpectedProblems("NotVisible", "WaitingForMesh")
}
