package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// entry is a ServiceEntry with the rest of its spec as YAML.
func entry(name, host, spec string) string {
	return "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: " + name + "}\nspec:\n  hosts: [\"" + host + "\"]\n  location: MESH_EXTERNAL\n" + spec
}

// served is an entry with a route to it: name.test leads to name.internal.
func served(name, spec string) string {
	host := name + ".internal"
	return entry(name, host, spec) + "---\n" + routes(name, name+".test", to(host))
}

// workload is a WorkloadEntry on a port, with labels.
func workload(name string, port int, more string) string {
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: %s}\nspec: {address: 127.0.0.1, ports: {http: %d}%s}\n", name, port, more)
}

const httpPort = "  ports: [{number: 80, name: http, protocol: HTTP}]\n"

// Where endpoints come from, and which of their ports is asked.
func TestResolutions(t *testing.T) {
	t.Parallel()
	a, b := newOrigin(t, "a"), newOrigin(t, "b")
	at := func(address string, o *origin) string {
		return fmt.Sprintf("{address: %s, ports: {http: %d}}", address, o.port)
	}
	files := map[string]string{
		"gateway.yaml": edge("*"),
		"static.yaml":  served("static", "  resolution: STATIC\n"+httpPort+"  endpoints: ["+at("127.0.0.1", a)+"]\n"),
		"two.yaml":     served("two", "  resolution: STATIC\n"+httpPort+"  endpoints: ["+at("127.0.0.1", a)+", "+at("127.0.0.1", b)+"]\n"),
		"empty.yaml":   served("empty", "  resolution: STATIC\n"+httpPort),
		"dns.yaml":     served("dns", "  resolution: DNS\n"+httpPort+"  endpoints: ["+at("localhost", a)+"]\n"),
		"robin.yaml":   served("robin", "  resolution: DNS_ROUND_ROBIN\n"+httpPort+"  endpoints: ["+at("localhost", b)+"]\n"),
		"unknown.yaml": served("unknown", "  resolution: DNS\n"+httpPort+"  endpoints: ["+at("nothing.invalid", a)+"]\n"),
		"none.yaml":    served("none", "  resolution: NONE\n"+httpPort),
		"host.yaml": entry("host", "host.localhost", fmt.Sprintf("  resolution: DNS\n  ports: [{number: %d, name: http, protocol: HTTP}]\n", a.port)) + "---\n" +
			routes("host", "host.test", to("host.localhost")),
		"target.yaml": served("target", fmt.Sprintf("  resolution: STATIC\n  ports: [{number: 80, name: http, protocol: HTTP, targetPort: %d}]\n  endpoints: [{address: 127.0.0.1}]\n", b.port)),
		"number.yaml": served("number", fmt.Sprintf("  resolution: STATIC\n  ports: [{number: %d, name: http, protocol: HTTP}]\n  endpoints: [{address: 127.0.0.1}]\n", a.port)),
		"ports.yaml": entry("ports", "ports.internal", "  resolution: STATIC\n  addresses: [240.0.0.9]\n  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: other, protocol: HTTP}]\n"+
			fmt.Sprintf("  endpoints: [{address: 127.0.0.1, ports: {http: %d, other: %d}, network: n1, serviceAccount: me}]\n", a.port, b.port)) + "---\n" +
			routes("ports", "ports.test", "  - {match: [{uri: {exact: /other}}], route: [{destination: {host: ports.internal, port: {number: 81}}}]}\n  - route: [{destination: {host: ports.internal, port: {number: 80}}}]\n"),
	}
	w := newWorld(t, files).run()
	w.problem("NotYetSupported", "ServiceEntry default/none", "spec.resolution", "NONE")
	for name, want := range map[string]string{
		"static": "a ", "dns": "a ", "robin": "b ", "host": "a ", "target": "b ", "number": "a ", "ports": "a ",
	} {
		w.answers(name+".test", "/", http.StatusOK, want)
	}
	for _, name := range []string{"empty", "unknown", "none"} {
		w.answers(name+".test", "/", http.StatusServiceUnavailable, "")
	}
	w.answersNow("ports.test", "/other", http.StatusOK, "b ")
	if got := w.spread(query{host: "two.test"}, 40); len(got) != 2 {
		t.Errorf("of two endpoints %v answer", got)
	}
	w.problem("WaitingForMesh", "ServiceEntry default/ports", "spec.endpoints[0].network")
	w.unexpectedProblems("NotYetSupported", "WaitingForMesh")
}

// A wildcard resolves the name that the client asked for.
func TestDynamicDNS(t *testing.T) {
	t.Parallel()
	o, other := newOrigin(t, "dynamic"), newOrigin(t, "other")
	w := newWorld(t, withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"),
		"wild.yaml":    entry("wild", "*.localhost", fmt.Sprintf("  resolution: DYNAMIC_DNS\n  ports: [{number: %d, name: http, protocol: HTTP}]\n", o.port)),
		"route.yaml":   routes("wild", "*.localhost", to("'*.localhost'")),
		"exact.yaml":   routes("exact", "exact.test", "  - rewrite: {authority: a.localhost}\n    route: [{destination: {host: a.localhost}}]\n"),
	})).run()
	defer w.neighbour().unharmed()
	w.answers("exact.test", "/", http.StatusOK, "dynamic a.localhost")
	w.answers(fmt.Sprintf("a.localhost:%d", o.port), "/", http.StatusOK, "dynamic a.localhost")
	w.answersNow(fmt.Sprintf("b.c.localhost:%d", o.port), "/", http.StatusOK, "dynamic b.c.localhost")
	w.answersNow("localhost", "/", http.StatusNotFound, "")
	w.answersNow("a.test", "/", http.StatusNotFound, "")
	w.flawless()
	t.Run("the port is that of the service", func(t *testing.T) {
		w := w.in(t)
		w.answersNow("a.localhost", "/", http.StatusOK, "dynamic a.localhost")
		_, _, _ = w.get(fmt.Sprintf("a.localhost:%d", other.port), "/")
		if n := other.asked(""); n > 0 {
			t.Errorf("the client chose a port that the service does not have")
		}
	})
}

// Workloads join and leave a service by their labels.
func TestWorkloadSelector(t *testing.T) {
	t.Parallel()
	servers := origins(t, "w", 3)
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"),
		"service.yaml": served("chosen", "  resolution: STATIC\n"+httpPort+"  workloadSelector: {labels: {app: shop}}\n"),
		"w0.yaml":      workload("w0", servers[0].port, ", labels: {app: shop}, locality: r1/z1, weight: 1"),
		"w1.yaml":      workload("w1", servers[1].port, ", labels: {app: shop, version: v2}"),
		"w2.yaml":      workload("w2", servers[2].port, ", labels: {app: other}"),
		"subset.yaml": rule("chosen.internal", "  subsets: [{name: v2, labels: {version: v2}}]\n") + "---\n" +
			routes("subset", "subset.test", "  - route: [{destination: {host: chosen.internal, subset: v2}}]\n"),
	}).run().settled()
	w.flawless()
	if got := w.spread(query{host: "chosen.test"}, 40); len(got) != 2 || got["w2"] > 0 {
		t.Errorf("the workloads chosen are %v", got)
	}
	if got := w.spread(query{host: "subset.test"}, 10); got["w1"] != 10 {
		t.Errorf("the workloads of the subset are %v", got)
	}
	w.write("w2.yaml", workload("w2", servers[2].port, ", labels: {app: shop}"))
	w.remove("w0.yaml")
	w.wait()
	if got := w.spread(query{host: "chosen.test"}, 40); len(got) != 2 || got["w0"] > 0 {
		t.Errorf("the workloads chosen are now %v", got)
	}
}

// exportTo shows a service to some namespaces; what is not shown is missing.
func TestVisibilityOfServices(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, "o")
	files := map[string]string{"gateway.yaml": edge("*")}
	cases := map[string]int{"star": 200, "own": 200, "shop": 503, "none": 503}
	for name, export := range map[string]string{"star": "'*'", "own": ".", "shop": "shop", "none": "'~'"} {
		files[name+".yaml"] = served(name, "  exportTo: ["+export+"]\n  resolution: STATIC\n"+httpPort+fmt.Sprintf("  endpoints: [{address: 127.0.0.1, ports: {http: %d}}]\n", o.port))
	}
	w := newWorld(t, files).run()
	w.problem("NotVisible", "VirtualService default/shop", "ServiceEntry default/shop")
	w.problem("NotVisible", "VirtualService default/none")
	for name, code := range cases {
		w.answers(name+".test", "/", code, "")
	}
	w.unexpectedProblems("NotVisible")
}

// The protocol of a port is that of its protocol field, or of a Kubernetes
// Service's appProtocol or port name.
func TestPortProtocols(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, "o")
	files := map[string]string{"gateway.yaml": edge("*")}
	want := map[string]string{}
	for protocol, proto := range map[string]string{"HTTP": "HTTP/1.1", "HTTP2": "HTTP/2.0", "GRPC": "HTTP/2.0", "GRPC-WEB": "HTTP/1.1"} {
		name := "se-" + strings.ToLower(protocol)
		files[name+".yaml"] = served(name, "  resolution: STATIC\n  ports: [{number: 80, name: http, protocol: "+protocol+"}]\n"+
			fmt.Sprintf("  endpoints: [{address: 127.0.0.1, ports: {http: %d}}]\n", o.port))
		want[name] = proto
	}
	for name, port := range map[string]string{
		"k-http": "name: http", "k-http2": "name: http2-main", "k-grpc": "name: grpc", "k-app": "name: x, appProtocol: kubernetes.io/h2c", "k-none": "name: x",
		"k-appwins": "name: http2, appProtocol: http",
	} {
		files[name+".yaml"] = fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {ports: [{port: 80, %[2]s}], selector: {app: x}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-1, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{%[3]s, port: %[4]d}]
endpoints: [{addresses: [127.0.0.1], conditions: {ready: true}}]
---
%[5]s`, name, port, strings.Split(port, ",")[0], o.port, routes(name, name+".test", to(name+".default.svc.cluster.local")))
		want[name] = "HTTP/1.1"
		if name == "k-http2" || name == "k-grpc" || name == "k-app" {
			want[name] = "HTTP/2.0"
		}
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	for name, proto := range want {
		w.expect([]outcome{{name: name, query: query{host: name + ".test"}, body: "proto: " + proto + "\n"}})
	}
}

// An endpoint that fails its health check is out until it passes again.
func TestHealthChecks(t *testing.T) {
	t.Parallel()
	files := map[string]string{"gateway.yaml": edge("*")}
	groups := map[string][]*origin{}
	for name, annotation := range map[string]string{
		"probed":    ", annotations: {sluice.dev/health-check: 'http:///healthz interval=100ms timeout=1s healthy=1 unhealthy=1 host=probe.test'}",
		"connected": ", annotations: {sluice.dev/health-check: 'tcp interval=100ms'}",
		"unprobed":  "",
	} {
		groups[name] = origins(t, name, 2)
		files[name+".yaml"] = strings.Replace(reached(name, groups[name], ""), "name: "+name+"-internal", "name: "+name+"-internal"+annotation, 1)
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	q := query{host: "probed.test"}
	w.eventually("both are used", func() error {
		if got := w.spread(q, 20); len(got) != 2 {
			return fmt.Errorf("%v answer", got)
		}
		return nil
	})
	sick := groups["probed"][0]
	if sick.asked("GET probe.test /healthz") == 0 {
		t.Errorf("nobody probes under the host of the annotation")
	}
	sick.setSick(true)
	w.only(q, "probed1")
	sick.setSick(false)
	w.eventually("both are used again", func() error {
		if got := w.spread(q, 20); len(got) != 2 {
			return fmt.Errorf("%v answer", got)
		}
		return nil
	})
	if got := w.spread(query{host: "connected.test"}, 40); len(got) != 2 {
		t.Errorf("a probe by TCP leaves %v", got)
	}
	if n := groups["unprobed"][0].asked("") + groups["connected"][0].asked("/healthz"); n > 0 {
		t.Errorf("%d requests were sent to those who are not probed by HTTP", n)
	}
}

// Endpoints come and go under load; what they have begun they finish.
func TestEndpointsLeave(t *testing.T) {
	t.Parallel()
	servers := origins(t, "s", 3)
	w := newWorld(t, withNeighbour(t, map[string]string{"gateway.yaml": edge("*"), "moving.yaml": reached("moving", servers, "")})).run().settled()
	load, neighbour := w.openLoop("moving.test", 200), w.neighbour()
	var held atomic.Int32
	for turn := range 12 {
		left := servers[turn%3]
		rest := []*origin{servers[(turn+1)%3], servers[(turn+2)%3]}
		w.write("moving.yaml", reached("moving", rest, ""))
		w.wait()
		before := left.asked("moving.test")
		if got := w.spread(query{host: "moving.test"}, 10); got[left.name] > 0 {
			t.Errorf("%s answers %d requests after it has left (%d before)", left.name, got[left.name], before)
		}
	}
	// A request that is under way when its endpoint leaves is answered by it.
	w.write("moving.yaml", reached("moving", servers[:1], ""))
	w.wait()
	done := make(chan reply, 1)
	go func() {
		r, _ := w.do(query{host: "moving.test", path: "/block"})
		held.Add(1)
		done <- r
	}()
	w.eventually("it is under way", func() error {
		if servers[0].asked("/block") == 0 {
			return errNot("under way")
		}
		return nil
	})
	w.write("moving.yaml", reached("moving", servers[1:2], ""))
	w.wait()
	w.only(query{host: "moving.test"}, "s1")
	if held.Load() != 0 {
		t.Errorf("the request was cut")
	}
	servers[0].release()
	if r := <-done; r.code != http.StatusOK || r.name() != "s0" {
		t.Errorf("the request under way is answered %d %q", r.code, r.line())
	}
	load.unharmed()
	neighbour.unharmed()
}

// The same for TLS that is passed through: its server name is resolved. The port
// is that of the service, whether the rule names it or not.
func TestDynamicDNSOfTLS(t *testing.T) {
	t.Parallel()
	certificate := newAuthority(t).issue("a.localhost").Certificate
	for _, named := range []bool{true, false} {
		t.Run(fmt.Sprintf("port named %v", named), func(t *testing.T) {
			t.Parallel()
			secure := newLineServer(t, "secure", &tls.Config{Certificates: []tls.Certificate{certificate}})
			port, destination := freePort(t), "host: '*.localhost'"
			if named {
				destination += fmt.Sprintf(", port: {number: %d}", secure.port)
			}
			w := newWorld(t, map[string]string{
				"gateway.yaml": l4("", server(port, "TLS", ", tls: {mode: PASSTHROUGH}, hosts: ['*.localhost', '*.test']")),
				"wild.yaml":    entry("wild", "*.localhost", fmt.Sprintf("  resolution: DYNAMIC_DNS\n  ports: [{number: %d, name: tls, protocol: TLS}]\n", secure.port)),
				"route.yaml":   streams("wild", "*.localhost", "  tls:\n  - {match: [{sniHosts: ['*.localhost']}], route: [{destination: {"+destination+"}}]}\n"),
			}).run()
			w.willHear(dialing{port: port, sni: "a.localhost"}, "secure")
			w.hears(dialing{port: port, sni: "b.c.localhost"}, "secure")
			w.hears(dialing{port: port, sni: "a.test"}, "")
			if got := secure.named(); got != "b.c.localhost" {
				t.Errorf("the server sees the name %q", got)
			}
			w.flawless()
		})
	}
}
