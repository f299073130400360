package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// shopFiles are a small shop: two versions by weight and by header, a redirect,
// a direct response and a rewrite.
func shopFiles(t *testing.T) map[string]string {
	t.Helper()
	return withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"),
		"shop/service.yaml": `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.internal]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 127.0.0.1, ports: {http: ` + itoa(backend(t, "shop-v1")) + `}, labels: {version: v1}}
  - {address: 127.0.0.1, ports: {http: ` + itoa(backend(t, "shop-v2")) + `}, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop.internal
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
`,
		"shop/routes.yaml": routes("shop", "shop.test", shopRules),
	})
}

const shopRules = `  - match: [{uri: {exact: /hours}}]
    directResponse: {status: 418, body: {string: always open}}
  - match: [{uri: {prefix: /old/}}]
    redirect: {uri: /new, redirectCode: 308}
  - match: [{uri: {prefix: /api/}}]
    rewrite: {uri: /v1/, authority: api.internal}
    route: [{destination: {host: shop.internal, subset: v1}}]
  - match: [{headers: {x-version: {exact: v2}}}]
    route: [{destination: {host: shop.internal, subset: v2}}]
  - route:
    - {destination: {host: shop.internal, subset: v1}, weight: 75}
    - {destination: {host: shop.internal, subset: v2}, weight: 25}
`

func TestFolderBecomesGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shopFiles(t)).run()
	defer w.neighbour().unharmed()
	w.wait()

	w.answersNow("shop.test", "/hours", http.StatusTeapot, "always open")
	w.answersNow("shop.test", "/old/x", http.StatusPermanentRedirect, "http://shop.test/new")
	w.answersNow("shop.test", "/api/items?q=1", http.StatusOK, "shop-v1 api.internal /v1/items?q=1")
	w.answersNow("nobody.test", "/", http.StatusNotFound, "")
	for range 20 {
		w.header("shop.test", "x-version", "v2", "shop-v2 shop.test /")
	}
	const total = 400
	second := 0
	for range total {
		code, body, err := w.get("shop.test", "/")
		if err != nil || code != http.StatusOK {
			t.Fatalf("answer %d %q %v", code, body, err)
		}
		if strings.HasPrefix(body, "shop-v2 ") {
			second++
		}
	}
	// 100 are expected, with a standard deviation of 9.
	if second < 50 || second > 150 {
		t.Errorf("%d of %d requests went to the version of weight 25", second, total)
	}
}

func TestEditsFollow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shopFiles(t)).run()
	defer w.neighbour().unharmed()

	// After every wait the first answer is the new one.
	w.write("shop/routes.yaml", routes("shop", "shop.test", strings.ReplaceAll(shopRules, "always open", "closed")))
	w.wait()
	w.answersNow("shop.test", "/hours", http.StatusTeapot, "closed")

	w.write("added.yaml", routes("added", "added.test", to("shop.internal")))
	w.wait()
	w.answersNow("added.test", "/", http.StatusOK, "added.test /")

	w.write("added.yaml", routes("added", "renamed.test", to("shop.internal")))
	w.wait()
	w.answersNow("renamed.test", "/", http.StatusOK, "renamed.test /")
	w.answersNow("added.test", "/", http.StatusNotFound, "")

	w.remove("added.yaml")
	w.wait()
	w.answersNow("renamed.test", "/", http.StatusNotFound, "")

	w.remove("shop/routes.yaml")
	w.remove("shop/service.yaml")
	w.wait()
	w.answersNow("shop.test", "/hours", http.StatusNotFound, "")
}

// A second port opens and closes beside the one that serves.
func TestListenersComeAndGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shopFiles(t)).run()
	defer w.neighbour().unharmed()
	second := w.elsewhere(freePort(t))
	second.write("second.yaml", gateway("second", "second.test")+"---\n"+
		strings.ReplaceAll(routes("second", "second.test", to("shop.internal")), "[edge]", "[second]"))
	w.wait()
	second.answersNow("second.test", "/", http.StatusOK, "second.test /")
	w.answersNow("second.test", "/", http.StatusNotFound, "")
	w.remove("second.yaml")
	w.wait()
	w.eventually("the port is closed", func() error {
		if code, body, err := second.get("second.test", "/"); err == nil {
			return unexpected(code, body)
		}
		return nil
	})
}
