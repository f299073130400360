package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// retrying is a retry policy, what a request is answered under it, and how
// often its server is asked.
type retrying struct {
	name, retries string // YAML of the rule
	query
	code, asked int
}

// Retries are counted at the server. The path tells the cases apart there.
func TestRetries(t *testing.T) {
	t.Parallel()
	grpc := query{method: http.MethodPost, headers: "content-type: application/grpc", h2: true}
	cases := []retrying{
		{name: "default", retries: "name: plain", query: at("?unavailable"), code: 503, asked: 1},
		{name: "off", retries: "retries: {attempts: 0, retryOn: '503'}", query: at("?unavailable"), code: 503, asked: 1},
		{name: "by code", retries: "retries: {attempts: 2, retryOn: '503'}", query: at("?unavailable"), code: 503, asked: 3},
		{name: "by another code", retries: "retries: {attempts: 2, retryOn: '500,502'}", query: at("?unavailable"), code: 503, asked: 1},
		{name: "by class", retries: "retries: {attempts: 3, retryOn: 5xx}", query: at("?unavailable"), code: 503, asked: 4},
		{name: "by class of the gateway", retries: "retries: {attempts: 1, retryOn: gateway-error}", query: at("?unavailable"), code: 503, asked: 2},
		{name: "by conflict", retries: "retries: {attempts: 1, retryOn: retriable-4xx}", query: at("?conflict"), code: 409, asked: 2},
		{name: "by conflict, of 503", retries: "retries: {attempts: 1, retryOn: retriable-4xx}", query: at("?unavailable"), code: 503, asked: 1},
		{name: "by reset, of 503", retries: "retries: {attempts: 1, retryOn: 'reset,connect-failure'}", query: at("?unavailable"), code: 503, asked: 1},
		{name: "with backoff", retries: "retries: {attempts: 2, retryOn: '503', backoff: 1ms}", query: at("?unavailable"), code: 503, asked: 3},
		{name: "in remote localities", retries: "retries: {attempts: 2, retryOn: '503', retryRemoteLocalities: true}", query: at("?unavailable"), code: 503, asked: 3},
		{name: "of a success", retries: "retries: {attempts: 2, retryOn: '503'}", query: at(""), code: 200, asked: 1},
		{name: "gRPC by default", retries: "name: plain", query: grpc, code: 200, asked: 1},
		{name: "within the timeout", retries: "timeout: 300ms, retries: {attempts: 3, perTryTimeout: 10s, retryOn: 5xx}", query: at("block"), code: 504, asked: 1},
		{name: "after a try timed out", retries: "retries: {attempts: 2, perTryTimeout: 200ms, retryOn: 5xx}", query: at("block"), code: 504, asked: 3},
	}
	server := newOrigin(t, "seen")
	files := map[string]string{"gateway.yaml": edge("*"), "seen.yaml": service("seen.internal", server.port)}
	for i, c := range cases {
		files[itoa(i)+".yaml"] = routes("r"+itoa(i), "r"+itoa(i)+".test", sent(c.retries))
	}
	w := newWorld(t, files).run().settled()
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host := "r" + itoa(i) + ".test"
			c.host, c.path = host, "/"+c.path
			r := w.in(t).must(c.query)
			if got := server.asked(host); r.code != c.code || got != c.asked {
				t.Errorf("it answers %d after %d tries, want %d after %d", r.code, got, c.code, c.asked)
			}
		})
	}
	w.problem("InvalidValue", "spec.http[0].retries.perTryTimeout", "timeout of 300ms")
}

// Of two endpoints one is at fault: a retry goes to the other one.
func TestRetriesElsewhere(t *testing.T) {
	t.Parallel()
	good, sick, slow := newOrigin(t, "good"), newOrigin(t, "sick"), newOrigin(t, "slow")
	sick.setSick(true)
	_, refused := boundPort(t)
	dead := &origin{name: "dead", port: refused}
	files := map[string]string{"gateway.yaml": edge("*")}
	two := func(name, more string, servers ...*origin) {
		host := name + ".internal"
		files[name+".yaml"] = fleet(host, servers) + "---\n" + routes(name, name+".test", strings.Replace(sent(more), "seen.internal", host, 1)) +
			"---\n" + rule(host, "  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}\n")
	}
	two("dead-default", "name: plain", good, dead)
	two("dead-off", "retries: {attempts: 0}", good, dead)
	two("sick-other", "retries: {attempts: 1, retryOn: '503'}", good, sick)
	two("sick-ignore", "retries: {attempts: 1, retryOn: '503', retryIgnorePreviousHosts: true}", good, sick)
	two("sick-default", "name: plain", good, sick)
	two("slow-try", "retries: {attempts: 1, perTryTimeout: 200ms, retryOn: 5xx}", slow)
	w := newWorld(t, files).run().settled()
	fails := func(host, path string, n int) int {
		failed := 0
		for range n {
			if r := w.must(query{host: host + ".test", path: path}); r.code != http.StatusOK {
				failed++
			}
		}
		return failed
	}
	for host, all := range map[string]bool{"dead-default": true, "dead-off": false, "sick-other": true, "sick-ignore": true, "sick-default": false} {
		if failed := fails(host, "/", 30); all != (failed == 0) {
			t.Errorf("%d of 30 requests to %s fail", failed, host)
		}
	}
	// The server holds the first of two requests for /odd.
	if failed := fails("slow-try", "/odd", 1); failed > 0 || slow.asked("/odd") != 2 {
		t.Errorf("of a request whose first try times out, %d fail after %d tries", failed, slow.asked("/odd"))
	}
	w.flawless()
}

// Bodies are kept for another try up to a size; a larger one goes on at once and
// is not sent again. Nobody is told that a body is too large.
func TestBodiesAreSentAgain(t *testing.T) {
	t.Parallel()
	_, refused := boundPort(t)
	dead := &origin{name: "dead", port: refused}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(rw, n)
	}))
	t.Cleanup(server.Close)
	good := &origin{name: "good", port: portOf(server.Listener.Addr())}
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"), "f.yaml": fleet("f.internal", []*origin{good, dead}), "r.yaml": routes("f", "f.test", to("f.internal")),
		"s.yaml": rule("f.internal", "  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}\n"),
	}).run().settled()
	for _, c := range []struct {
		size  int
		again bool
	}{{1 << 10, true}, {100 << 10, true}, {1<<20 - 1, true}, {1<<20 + 64<<10, false}, {10 << 20, false}} {
		failed := 0
		for range 12 {
			r := w.must(query{host: "f.test", method: http.MethodPost, body: strings.Repeat("x", c.size)})
			switch {
			case r.code == http.StatusOK && r.body == itoa(c.size):
			case r.code == http.StatusServiceUnavailable:
				failed++
			default:
				t.Errorf("a body of %d bytes is answered %d %q", c.size, r.code, r.line())
			}
		}
		if c.again && failed > 0 {
			t.Errorf("%d of 12 bodies of %d bytes are not sent again", failed, c.size)
		}
	}
}

// Destinations may answer with more headers than clients may send, up to a bound
// that is declared.
func TestManyHeadersInAnswers(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		for i := range n {
			rw.Header().Set("x-"+itoa(i), strings.Repeat("y", 200))
		}
	}))
	t.Cleanup(server.Close)
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"), "f.yaml": service("f.internal", portOf(server.Listener.Addr())), "r.yaml": routes("f", "f.test", to("f.internal")),
	}).run().settled()
	for n, code := range map[string]int{"50": 200, "150": 200, "950": 200, "1100": 502} {
		w.answers("f.test", "/?n="+n, code, "")
	}
	w.write("settings.yaml", "apiVersion: sluice.dev/v1\nkind: Settings\nmetadata: {name: settings}\nspec: {maxResponseHeaders: 2000}\n")
	w.answers("f.test", "/?n=1100", 200, "")
}

// child is a virtual service to which others delegate: what is in its metadata,
// and its rules.
func child(metadata, rules string) string {
	return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: " + metadata + "}\nspec:\n  http:\n" + rules
}

// A rule that delegates is replaced by the rules of another virtual service,
// which inherit what they do not say.
func TestDelegates(t *testing.T) {
	t.Parallel()
	root := func(name, prefix, delegate string) string {
		return fmt.Sprintf("  - match: [{uri: {prefix: %s}}]\n    name: %s\n    delegate: {name: %s}\n    rewrite: {authority: root.internal}\n"+
			"    headers: {response: {set: {x-from: root}}}\n", prefix, name, delegate)
	}
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"),
		"seen.yaml":    service("seen.internal", newOrigin(t, "seen").port),
		"root.yaml": routes("root", "root.test", root("a", "/a", "child")+root("b", "/b", "other, namespace: shop")+
			root("c", "/c", "hidden, namespace: shop")+root("d", "/d", "lost")+root("e", "/e", "twice")+to("seen.internal")),
		"child.yaml": child("child", "  - match: [{uri: {exact: /a/own}}]\n    rewrite: {authority: child.internal}\n    headers: {response: {set: {x-from: child}}}\n    route: [{destination: {host: seen.internal}}]\n"+
			"  - match: [{uri: {prefix: /wide}}]\n    directResponse: {status: 418}\n"+to("seen.internal")),
		"other.yaml":  child("other, namespace: shop", "  - directResponse: {status: 402}\n"),
		"hidden.yaml": child("hidden, namespace: shop", "  - directResponse: {status: 403}\n") + "  exportTo: [.]\n",
		"twice.yaml":  child("twice", "  - delegate: {name: child}\n    match: [{uri: {prefix: /e}}]\n"),
	}).run()
	w.problem("DelegateConflict", "VirtualService default/child", "spec.http[1].match[0]", "root")
	w.problem("DelegateMissing", "VirtualService default/root", "spec.http[2].delegate")
	w.problem("DelegateMissing", "VirtualService default/root", "spec.http[3].delegate", "lost")
	w.problem("InvalidValue", "VirtualService default/twice", "spec.http[0].delegate")
	w.unexpectedProblems("DelegateConflict", "DelegateMissing", "InvalidValue")
	w.answers("root.test", "/b", http.StatusPaymentRequired, "")
	w.expect([]outcome{
		{name: "inherited", query: query{host: "root.test", path: "/a/x"}, body: "seen root.internal /a/x\n", header: "x-from: root"},
		{name: "own", query: query{host: "root.test", path: "/a/own"}, body: "seen child.internal /a/own\n", header: "x-from: child"},
		{name: "conflict takes nothing", query: query{host: "root.test", path: "/wide"}, body: "seen root.test /wide\n", header: "x-from:"},
		{name: "hidden", query: query{host: "root.test", path: "/c"}, code: 500, header: "x-sluice-reason: DelegateMissing"},
		{name: "lost", query: query{host: "root.test", path: "/d"}, code: 500, header: "x-sluice-reason: DelegateMissing"},
		{name: "twice", query: query{host: "root.test", path: "/e"}, code: 500, header: "x-sluice-reason: InvalidValue"},
		{name: "behind", query: query{host: "root.test", path: "/z"}, body: "seen root.test /z\n", header: "x-from:"},
	})
	// What is delegated to may change alone.
	w.write("lost.yaml", child("lost", "  - directResponse: {status: 410}\n"))
	w.answers("root.test", "/d", http.StatusGone, "")
	w.remove("other.yaml")
	w.answers("root.test", "/b", http.StatusInternalServerError, "DelegateMissing")
}
