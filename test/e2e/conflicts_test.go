package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// boundTo is routes bound to a gateway other than edge.
func boundTo(gateway, text string) string {
	return strings.ReplaceAll(text, "gateways: [edge]", "gateways: ["+gateway+"]")
}

// Plain servers of a port merge: adding a gateway for a host that another one
// has, by whatever name of its file, takes no rule away and unplugs nobody.
func TestPlainServersMerge(t *testing.T) {
	t.Parallel()
	answer := func(path, code string) string {
		return "  - match: [{uri: {prefix: " + path + "}}]\n    directResponse: {status: " + code + "}\n"
	}
	for _, hosts := range []string{"*", "twice.test"} {
		w := newWorld(t, withNeighbour(t, map[string]string{
			"m-gateway.yaml": edge("*"),
			"m-gw.yaml":      gateway("first", hosts),
			"m-route.yaml":   boundTo("first", routes("first", "twice.test", answer("/a", "418"))),
		})).run()
		neighbour := w.neighbour()
		w.answers("twice.test", "/a", http.StatusTeapot, "")

		// Before and behind it by name, in its namespace and in another.
		w.write("a-gateway.yaml", gateway("second", hosts))
		w.write("a-route.yaml", boundTo("second", routes("second", "twice.test", answer("/b", "419"))))
		w.write("z-gateway.yaml", strings.Replace(gateway("third", hosts), "{name: third}", "{name: third, namespace: shop}", 1))
		w.write("z-route.yaml", boundTo("shop/third", routes("third", "twice.test", answer("/c", "420")+answer("/a", "421"))))
		w.answers("twice.test", "/b", 419, "")
		w.answers("twice.test", "/c", 420, "")
		w.answersNow("twice.test", "/a", http.StatusTeapot, "") // the older's rule first

		// Without the oldest the others stay, and get what it had.
		w.remove("m-gw.yaml")
		w.answers("twice.test", "/a", 421, "")
		w.answersNow("twice.test", "/b", 419, "")
		w.answersNow("twice.test", "/c", 420, "")

		// The redirect of any of them holds for the host.
		w.write("r-gateway.yaml", strings.Replace(gateway("fourth", "twice.test"), "    hosts:", "    tls: {httpsRedirect: true}\n    hosts:", 1))
		w.answers("twice.test", "/b", http.StatusMovedPermanently, "")
		w.remove("r-gateway.yaml")
		w.answers("twice.test", "/b", 419, "")
		neighbour.unharmed()
		w.stop(15)
	}
}
