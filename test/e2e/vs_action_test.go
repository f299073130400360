package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// acting is a rule, and what requests to its host are answered. The rule stands
// alone and sends to seen.internal unless it says where.
type acting struct {
	name, rule string
	outcomes   []outcome
}

// act runs a world in which each rule has a host of its own, named by its
// place: "h0.test". $HOST in outcomes stands for it, $PORT for the port.
func act(t *testing.T, rules []acting, files map[string]string) *world {
	t.Helper()
	files["gateway.yaml"] = edge("*")
	for i, c := range rules {
		host := "h" + itoa(i) + ".test"
		files["rules/"+host+".yaml"] = routes("h"+itoa(i), host, c.rule)
	}
	w := newWorld(t, files).run().settled()
	for i, c := range rules {
		host := "h" + itoa(i) + ".test"
		t.Run(c.name, func(t *testing.T) {
			for _, o := range c.outcomes {
				if o.host == "" {
					o.host = host
				}
				fill := strings.NewReplacer("$HOST", host, "$PORT", itoa(w.port))
				o.body, o.header, o.host = fill.Replace(o.body), fill.Replace(o.header), fill.Replace(o.host)
				o.check(w.in(t))
			}
		})
	}
	return w
}

// sent is a rule with more YAML, in flow style, that sends to seen.internal.
func sent(more string) string {
	return "  - {" + more + ", route: [{destination: {host: seen.internal}}]}\n"
}

func at(path string) query { return query{path: path} }

func redirects() []acting {
	to := func(name, redirect string, outcomes ...outcome) acting {
		return acting{name, "  - match: [{uri: {prefix: /a}}]\n    redirect: {" + redirect + "}\n", outcomes}
	}
	location := func(q query, code int, where string) outcome {
		return outcome{query: q, code: code, header: "location: " + where}
	}
	return []acting{
		to("uri", "uri: /b", location(at("/a/x?q=1"), 301, "http://$HOST/b?q=1"), outcome{query: at("/c"), code: 404, header: "location:"}),
		to("prefix rewrite", "prefixRewrite: /b", location(at("/a/x?q=1"), 301, "http://$HOST/b/x?q=1")),
		to("authority", "authority: else.test", location(at("/a"), 301, "http://else.test/a")),
		to("scheme", "scheme: https", location(at("/a"), 301, "https://$HOST/a")),
		to("port", "port: 81", location(at("/a"), 301, "http://$HOST:81/a")),
		to("default port of the protocol", "derivePort: FROM_PROTOCOL_DEFAULT", location(query{host: "$HOST:8080", path: "/a"}, 301, "http://$HOST/a")),
		to("default port of https", "scheme: https, derivePort: FROM_PROTOCOL_DEFAULT", location(query{host: "$HOST:8080", path: "/a"}, 301, "https://$HOST/a")),
		to("port of the request", "authority: else.test, derivePort: FROM_REQUEST_PORT", location(at("/a"), 301, "http://else.test:$PORT/a")),
		to("302", "uri: /b, redirectCode: 302", location(at("/a"), 302, "http://$HOST/b")),
		to("303", "uri: /b, redirectCode: 303", location(at("/a"), 303, "http://$HOST/b")),
		to("307", "uri: /b, redirectCode: 307", location(at("/a"), 307, "http://$HOST/b")),
		to("308", "uri: /b, redirectCode: 308", location(at("/a"), 308, "http://$HOST/b")),
		{"direct string", "  - directResponse: {status: 403, body: {string: 'go away'}}\n", []outcome{{code: 403, body: "go away"}}},
		{"direct bytes", "  - directResponse: {status: 200, body: {bytes: AGhpAQ==}}\n", []outcome{{body: "\x00hi\x01"}}},
		{"direct without a body", "  - directResponse: {status: 204}\n", []outcome{{code: 204, not: "seen"}}},
		{"direct of 200 KiB", "  - directResponse: {status: 200, body: {string: " + strings.Repeat("x", 200<<10) + "}}\n", []outcome{{body: strings.Repeat("x", 200<<10)}}},
	}
}

func rewrites() []acting {
	return []acting{
		{"rewritten prefix", sent("match: [{uri: {prefix: /a}}], rewrite: {uri: /b}"), []outcome{
			{query: at("/a/x?q=1"), body: "seen $HOST /b/x?q=1\n"}, {query: at("/c"), code: 404},
		}},
		{"rewritten whole path", sent("match: [{uri: {exact: /a}}], rewrite: {uri: /b/c}"), []outcome{{query: at("/a?q=1"), body: "seen $HOST /b/c?q=1\n"}}},
		{"rewritten authority", sent("rewrite: {authority: else.test}"), []outcome{{query: at("/a"), body: "seen else.test /a\n"}}},
		{"both", sent("match: [{uri: {prefix: /a}}], rewrite: {uri: /b, authority: else.test}"), []outcome{{query: at("/a"), body: "seen else.test /b\n"}}},
		{"by regex", sent(`rewrite: {uriRegexRewrite: {match: '^/old/([^/]+)/(.*)$', rewrite: '/new/\2/\1'}}`), []outcome{
			{query: at("/old/a/b?q=1"), body: "seen $HOST /new/b/a?q=1\n"}, {query: at("/other/a"), body: "seen $HOST /other/a\n"},
		}},
	}
}

func headerOperations() []acting {
	return []acting{
		{"request headers", sent("headers: {request: {set: {x-set: new}, add: {x-add: more}, remove: [x-gone]}}"), []outcome{
			{query: query{headers: "x-set: old\nx-add: first\nx-gone: here\nx-stays: yes"}, body: "x-set: new\n"},
			{query: query{headers: "x-set: old\nx-add: first\nx-gone: here\nx-stays: yes"}, body: "x-add: first,more\n", not: "x-gone"},
			{query: query{headers: "x-stays: yes"}, body: "x-stays: yes"},
		}},
		{"response headers", sent("headers: {response: {set: {x-origin: new}, add: {x-add: more}, remove: [server]}}"), []outcome{
			{header: "x-origin: new\nx-add: more\nserver:", body: "seen"},
		}},
		{"headers of a destination", "  - route: [{destination: {host: seen.internal}, headers: {request: {set: {x-set: new}}, response: {add: {x-add: more}}}}]\n", []outcome{
			{body: "x-set: new\n", header: "x-add: more\nx-origin: seen"},
		}},
		{"authority", sent("headers: {request: {set: {':authority': else.test}}}"), []outcome{{query: at("/a"), body: "seen else.test /a\n"}}},
		{"host", sent("headers: {request: {set: {Host: else.test}}}"), []outcome{{query: at("/a"), body: "seen else.test /a\n"}}},
		{"no headers", sent("name: plain"), []outcome{{body: "seen $HOST /\n", not: "x-set", header: "x-origin: seen\nserver: seen"}}},
		{"headers of a redirect", "  - redirect: {uri: /b}\n    headers: {response: {set: {x-add: more}}}\n", []outcome{{code: 301, header: "x-add: more"}}},
	}
}

// What becomes of a request: answered, rewritten, changed.
func TestActions(t *testing.T) {
	t.Parallel()
	w := act(t, append(append(redirects(), rewrites()...), headerOperations()...), map[string]string{
		"seen.yaml": service("seen.internal", newOrigin(t, "seen").port),
	})
	w.flawless()
}

func corsRules() []acting {
	const policy = "corsPolicy: {allowOrigins: [{exact: 'https://good.test'}, {regex: 'https://.*[.]wide[.]test'}], allowMethods: [GET, PUT], " +
		"allowHeaders: [x-a], exposeHeaders: [x-b], maxAge: 10m, allowCredentials: true"
	preflight := func(origin string) query {
		return query{method: http.MethodOptions, headers: "origin: " + origin + "\naccess-control-request-method: PUT"}
	}
	from := func(origin string) query { return query{headers: "origin: " + origin} }
	allowed := func(origin string) string { return "access-control-allow-origin: " + origin + "\n" }
	return []acting{
		{"cors", sent(policy + "}"), []outcome{
			{query: preflight("https://good.test"), not: "seen", header: allowed("https://good.test") +
				"access-control-allow-methods: GET,PUT\naccess-control-allow-headers: x-a\naccess-control-max-age: 600\naccess-control-allow-credentials: true"},
			{query: preflight("https://a.wide.test"), not: "seen", header: allowed("https://a.wide.test")},
			{query: from("https://good.test"), body: "seen", header: allowed("https://good.test") + "access-control-expose-headers: x-b"},
			{query: from("https://bad.test"), body: "seen", header: "access-control-allow-origin:"},
			{query: preflight("https://bad.test"), body: "seen", header: "access-control-allow-origin:"},
			{body: "seen", header: "access-control-allow-origin:"},
		}},
		{"cors that forwards", sent(policy + ", unmatchedPreflights: FORWARD}"), []outcome{
			{query: preflight("https://bad.test"), body: "seen"},
		}},
		{"cors that ignores", sent(policy + ", unmatchedPreflights: IGNORE}"), []outcome{
			{query: preflight("https://good.test"), not: "seen", header: allowed("https://good.test")},
			{query: preflight("https://bad.test"), not: "seen", header: "access-control-allow-origin:"},
			{query: from("https://bad.test"), body: "seen"},
		}},
		{"no cors", sent("name: plain"), []outcome{
			{query: preflight("https://good.test"), body: "seen", header: "access-control-allow-origin:"},
		}},
	}
}

func faults() []acting {
	grpc := query{method: http.MethodPost, headers: "content-type: application/grpc", h2: true}
	return []acting{
		{"abort", sent("fault: {abort: {httpStatus: 418, percentage: {value: 100}}}"), []outcome{{code: 418, not: "seen"}}},
		{"abort of none", sent("fault: {abort: {httpStatus: 418, percentage: {value: 0}}}"), []outcome{{body: "seen"}}},
		{"abort without a share", sent("fault: {abort: {httpStatus: 418}}"), []outcome{{body: "seen"}}},
		{"abort of gRPC", sent("fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}"), []outcome{{query: grpc, not: "seen", header: "grpc-status: 14"}}},
		{"abort of no gRPC", sent("fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 0}}}"), []outcome{{query: grpc, body: "seen", header: "grpc-status:"}}},
		{"delay of none", sent("fault: {delay: {fixedDelay: 1h, percentage: {value: 0}}}"), []outcome{{body: "seen"}}},
		{"delay of some", "  - match: [{headers: {x-slow: {}}}]\n    fault: {delay: {fixedDelay: 1h, percentage: {value: 100}}}\n    timeout: 100ms\n" +
			"    route: [{destination: {host: seen.internal}}]\n" + to("seen.internal"), []outcome{{body: "seen"}}},
		{"timeout", sent("timeout: 300ms"), []outcome{{query: at("/block"), code: 504}, {query: at("/x"), body: "seen"}}},
	}
}

// Faults, timeouts and cross-origin requests.
func TestFaultsAndCORS(t *testing.T) {
	t.Parallel()
	w := act(t, append(corsRules(), faults()...), map[string]string{
		"seen.yaml": service("seen.internal", newOrigin(t, "seen").port) + "---\n" +
			routes("slow", "slow.test", sent("fault: {delay: {fixedDelay: 400ms, percentage: {value: 100}}}")),
	})
	w.problem("InvalidValue", "spec.http[0].fault.delay.fixedDelay", "timeout of 100ms")
	// Envoy's timers count from the start of a turn of its loop, a little earlier.
	if r := w.must(query{host: "slow.test"}); r.took < 380*time.Millisecond || r.name() != "seen" {
		t.Errorf("a request delayed by 400ms is answered %d %q after %v", r.code, r.line(), r.took)
	}
}

// Mirrored servers see what the host sees, under its own name.
func TestMirrors(t *testing.T) {
	t.Parallel()
	files := map[string]string{"gateway.yaml": edge("*"), "seen.yaml": service("seen.internal", newOrigin(t, "seen").port)}
	copies := origins(t, "m", 4)
	for _, o := range copies {
		files[o.name+".yaml"] = service(o.name+".internal", o.port)
	}
	mirror := func(name, more string) { files[name+".yaml"] = routes(name, name+".test", sent(more)) }
	mirror("one", "mirror: {host: m0.internal}")
	mirror("none", "mirror: {host: m0.internal}, mirrorPercentage: {value: 0}")
	mirror("all", "mirror: {host: m0.internal}, mirrorPercentage: {value: 100}")
	mirror("many", "mirrors: [{destination: {host: m1.internal}}, {destination: {host: m2.internal}, percentage: {value: 100}}, {destination: {host: m3.internal}, percentage: {value: 0}}]")
	mirror("half", "mirrors: [{destination: {host: m1.internal}, percentage: {value: 50}}]")
	mirror("lost", "mirror: {host: lost.internal}")
	w := newWorld(t, files).run()
	w.problem("DestinationMissing", "lost.internal", "VirtualService default/lost")
	w.answers("lost.test", "/", http.StatusOK, "seen lost.test")
	const n = 100
	for _, host := range []string{"none.test", "one.test", "all.test", "many.test", "half.test"} {
		if got := w.spread(query{method: http.MethodPost, host: host, path: "/copy", body: "body"}, n); got["seen"] != n {
			t.Errorf("%s is answered by %v", host, got)
		}
	}
	w.eventually("the copies arrive", func() error {
		for _, c := range []struct {
			o    *origin
			host string
		}{{copies[0], "one.test"}, {copies[0], "all.test"}, {copies[1], "many.test"}, {copies[2], "many.test"}} {
			if got := c.o.asked("POST " + c.host + " /copy"); got != n {
				return fmt.Errorf("%s has %d copies of %s", c.o.name, got, c.host)
			}
		}
		return nil
	})
	if got := copies[0].asked("none.test") + copies[3].asked(""); got != 0 {
		t.Errorf("%d requests were copied at a share of 0", got)
	}
	// 50 are expected, with a standard deviation of 5.
	if got := copies[1].asked("half.test"); got < 20 || got > 80 {
		t.Errorf("%d of %d requests were copied at a share of one half", got, n)
	}
}
