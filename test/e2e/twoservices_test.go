package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Two ServiceEntries of one host in a namespace are one service: the endpoints,
// ports and subsets of both. What cannot be merged is told, and takes nothing
// from who was there.
func TestServicesOfOneHostMerge(t *testing.T) {
	t.Parallel()
	a, b, c := backend(t, "a"), backend(t, "b"), backend(t, "c")
	w := newWorld(t, withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"),
		"m.yaml":       service("twice.internal", a),
		"route.yaml":   routes("twice", "twice.test", to("twice.internal, port: {number: 80}")),
		"other.yaml":   routes("other", "other.test", to("twice.internal, port: {number: 81}")),
		"subset.yaml":  routes("subset", "subset.test", to("twice.internal, port: {number: 80}, subset: b")),
		"rule.yaml":    rule("twice.internal", "  subsets: [{name: b, labels: {version: b}}]\n"),
	})).run()
	neighbour := w.neighbour()
	w.answers("twice.test", "/", http.StatusOK, "a twice.test")
	w.answers("subset.test", "/", http.StatusServiceUnavailable, "")

	// By another name of its port, before the first by its own.
	second := fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a-second}
spec:
  hosts: [twice.internal]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: web, protocol: HTTP}, {number: 81, name: more, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {web: %d, more: %d}, labels: {version: b}}]
`, b, c)
	w.write("a.yaml", second)
	w.answers("twice.test", "/", http.StatusOK, "b twice.test")
	w.answers("twice.test", "/", http.StatusOK, "a twice.test")
	w.answers("other.test", "/", http.StatusOK, "c other.test")
	for range 4 {
		w.answersNow("other.test", "/", http.StatusOK, "c other.test") // the first has no such port
	}
	w.answers("subset.test", "/", http.StatusOK, "b subset.test")
	w.flawless()

	third := service("twice.internal", c)
	w.write("b.yaml", strings.NewReplacer("twice-internal", "dns", "STATIC", "DNS").Replace(third))
	w.problem("HostConflict", "ServiceEntry default/dns", "resolution", "STATIC")
	w.write("b.yaml", strings.NewReplacer("twice-internal", "tcp", "HTTP", "TCP").Replace(third))
	w.problem("HostConflict", "ServiceEntry default/tcp", "port 80 is HTTP", "TCP")
	w.write("b.yaml", strings.Replace(third, "{name: twice-internal}", "{name: far, namespace: far}", 1))
	w.problem("HostConflict", "ServiceEntry far/far", "namespace")
	for range 8 {
		if code, body, err := w.get("twice.test", "/"); err != nil || code != http.StatusOK || strings.HasPrefix(body, "c") {
			t.Errorf("who cannot be merged takes requests: %d %q %v", code, body, err)
		}
	}
	w.remove("b.yaml")
	w.flawless()

	// Without the first the second stays.
	w.remove("m.yaml")
	w.answers("twice.test", "/", http.StatusOK, "b twice.test")
	w.answersNow("other.test", "/", http.StatusOK, "c other.test")
	neighbour.unharmed()
	w.stop(15)
}
