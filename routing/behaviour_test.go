package routing_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/routing"
	"github.com/sluicegw/sluice/xds/sim"
)

// arrived is a request at a server.
type arrived struct{ server, host, path string }

// serve returns servers that report what arrives, and the targets that lead
// there.
func serve(t *testing.T, names ...string) (seen chan arrived, ups []upstream, targets map[model.Destination]model.Target) {
	t.Helper()
	seen, targets = make(chan arrived, 100), map[model.Destination]model.Target{}
	for _, name := range names {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			seen <- arrived{name, r.Host, r.URL.Path}
		}))
		t.Cleanup(server.Close)
		d := model.Destination{Host: name, Port: 80}
		targets[d] = model.Target{Cluster: model.ClusterName(d)}
		ups = append(ups, upstream{model.ClusterName(d), server.Listener.Addr()})
	}
	return seen, ups, targets
}

// next returns what arrives next, and fails if nothing does.
func next(t *testing.T, seen chan arrived) arrived {
	t.Helper()
	select {
	case a := <-seen:
		return a
	case <-time.After(20 * time.Second):
		t.Fatal("nothing arrives")
	}
	return arrived{}
}

// behaving returns the rules of the tests below: one path each, all to v.
func behaving() []model.HTTPRule {
	to := func(host string) []model.WeightedDestination {
		return []model.WeightedDestination{{Destination: model.Destination{Host: host, Port: 80}}}
	}
	mirror := func(percent float64) []model.Mirror {
		return []model.Mirror{{Destination: model.Destination{Host: "m", Port: 80}, Percent: percent}}
	}
	cors := func(forward bool) *model.CORSPolicy {
		age, yes := time.Hour, true
		return &model.CORSPolicy{
			AllowOrigins: []model.StringMatch{{Kind: model.MatchRegex, Value: `https://[a-z]+\.org`}, {Value: "https://b.net"}},
			AllowMethods: []string{"GET", "PUT"}, AllowHeaders: []string{"x-a"}, ExposeHeaders: []string{"x-b"},
			MaxAge: &age, AllowCredentials: &yes, ForwardUnmatched: forward,
		}
	}
	rules := map[string]model.HTTPRule{
		"/mirror":   {Mirrors: mirror(100)},
		"/unmirror": {Mirrors: mirror(0)},
		"/abort":    {Inject: &model.FaultInjection{Abort: &model.FaultAbort{Percent: 100, HTTPStatus: 418}}},
		"/unabort":  {Inject: &model.FaultInjection{Abort: &model.FaultAbort{Percent: 0, HTTPStatus: 418}}},
		"/grpc":     {Inject: &model.FaultInjection{Abort: &model.FaultAbort{Percent: 100, HasGRPC: true, GRPCStatus: 14}}},
		"/delay":    {Inject: &model.FaultInjection{Delay: &model.FaultDelay{Percent: 100, Fixed: 10 * time.Millisecond}}},
		"/cors":     {CORS: cors(false)},
		"/forward":  {CORS: cors(true)},
		"/closed":   {CORS: &model.CORSPolicy{}},
	}
	var out []model.HTTPRule
	for path, rule := range rules {
		rule.Name, rule.Field, rule.Route = path, "spec.http[0]", to("v")
		rule.Matches = []model.Match{{URI: &model.StringMatch{Value: path}}}
		out = append(out, rule)
	}
	return out
}

// TestEnvoyDoesWhatTheRulesSay plays faults, mirrors and CORS on the real Envoy.
func TestEnvoyDoesWhatTheRulesSay(t *testing.T) {
	seen, ups, targets := serve(t, "v", "m")
	set := &model.RouteSet{Meta: model.Meta{Ref: model.Ref{Kind: "VirtualService", Namespace: "shop", Name: "a"}}, HTTP: behaving()}
	vh, problems := routing.VirtualHost(routing.HostInput{Host: "*", Port: 80, Targets: targets, Bindings: []routing.Binding{{Set: set}}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	e := runEnvoy(t, map[string]*routev3.VirtualHost{"l": vh}, ups...)
	get := func(path string, headers map[string]string) *http.Response {
		t.Helper()
		return e.call(t, "l", sim.Request{Method: "GET", Host: "a.example.com", Path: path, Headers: headers})
	}
	t.Run("mirror", func(t *testing.T) {
		get("/mirror", nil)
		servers := map[string]bool{}
		for range 2 {
			a := next(t, seen)
			servers[a.server] = true
			if a.host != "a.example.com" || a.path != "/mirror" {
				t.Errorf("%s sees %+v", a.server, a)
			}
		}
		if !servers["v"] || !servers["m"] {
			t.Errorf("it arrives at %v", servers)
		}
	})
	t.Run("fault", func(t *testing.T) { checkFaults(t, get) })
	if a := next(t, seen); a.path != "/unabort" {
		t.Errorf("an aborted request arrives: %+v", a)
	}
	if a := next(t, seen); a.path != "/delay" {
		t.Errorf("the delayed request does not arrive: %+v", a)
	}
	t.Run("cors", func(t *testing.T) { checkCORS(t, e) })
	for range 20 { // no copies of a share of 0
		get("/unmirror", nil)
	}
	for len(seen) > 0 {
		if a := <-seen; a.server == "m" {
			t.Errorf("a copy of a share of 0 arrives: %+v", a)
		}
	}
}

func checkFaults(t *testing.T, get func(string, map[string]string) *http.Response) {
	if got := get("/abort", nil).StatusCode; got != 418 {
		t.Errorf("abort: status %d", got)
	}
	if got := get("/unabort", nil).StatusCode; got != 200 {
		t.Errorf("abort of a share of 0: status %d", got)
	}
	if got := get("/grpc", map[string]string{"content-type": "application/grpc"}).Header.Get("grpc-status"); got != strconv.Itoa(14) {
		t.Errorf("abort: gRPC status %q", got)
	}
	if resp := get("/delay", nil); resp.StatusCode != 200 || resp.Header.Get("x-flags") != "DI" {
		t.Errorf("delay: status %d, flags %q", resp.StatusCode, resp.Header.Get("x-flags"))
	}
}

func checkCORS(t *testing.T, e *envoy) {
	for _, c := range []struct {
		method, path, origin string
		status               int
		allowed              bool
		arrives              bool
	}{
		{"OPTIONS", "/cors", "https://a.org", 200, true, false},
		{"OPTIONS", "/cors", "https://b.net", 200, true, false},
		{"OPTIONS", "/cors", "https://evil.com", 200, false, false},
		{"OPTIONS", "/forward", "https://a.org", 200, true, false},
		{"OPTIONS", "/forward", "https://a.org.evil.com", 200, false, true},
		{"OPTIONS", "/closed", "https://a.org", 200, false, false},
		{"GET", "/cors", "https://a.org", 200, true, true},
		{"GET", "/cors", "https://evil.com", 200, false, true},
	} {
		headers := map[string]string{"origin": c.origin}
		if c.method == "OPTIONS" {
			headers["access-control-request-method"] = "PUT"
		}
		resp := e.call(t, "l", sim.Request{Method: c.method, Host: "a.example.com", Path: c.path, Headers: headers})
		origin := resp.Header.Get("access-control-allow-origin")
		arrives := resp.Header.Get("x-envoy-upstream-service-time") != ""
		if resp.StatusCode != c.status || (origin == c.origin) != c.allowed || arrives != c.arrives {
			t.Errorf("%+v: status %d, origin %q, arrives %t", c, resp.StatusCode, origin, arrives)
		}
		if !c.allowed {
			continue
		}
		if resp.Header.Get("access-control-allow-credentials") != "true" {
			t.Errorf("%+v: credentials are not allowed", c)
		}
		if c.method == "OPTIONS" {
			said := resp.Header.Get("access-control-allow-methods") + " " + resp.Header.Get("access-control-allow-headers") + " " + resp.Header.Get("access-control-max-age")
			if said != "GET,PUT x-a 3600" {
				t.Errorf("%+v: the preflight says %q", c, said)
			}
		} else if !strings.Contains(resp.Header.Get("access-control-expose-headers"), "x-b") {
			t.Errorf("%+v: nothing is exposed", c)
		}
	}
}
