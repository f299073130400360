package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// What a host means is the same in both layouts of a route table and in every
// version of HTTP.
func TestHosts(t *testing.T) {
	t.Parallel()
	for _, above := range []string{"0", "256"} {
		t.Run("above "+above, func(t *testing.T) {
			t.Parallel()
			checkHosts(t, above)
		})
	}
}

// answer is what a request to a host gets.
type answer struct {
	host string
	code int
	body string // of 200: which rule, and the host that the destination saw
}

func hostAnswers() []answer {
	return []answer{
		{"a.example.com", 200, "exact a.example.com"},
		{"a.example.com:8080", 200, "exact a.example.com:8080"},
		{"A.Example.COM", 200, "exact A.Example.COM"},
		{"a.example.com.", 200, "exact a.example.com."},
		{"A.example.com.:8080", 200, "exact A.example.com.:8080"},
		{"b.example.com", 200, "suffix b.example.com"},
		{"B.example.com:99", 200, "suffix B.example.com:99"},
		{"x.b.example.com", 200, "suffix x.b.example.com"},
		{"x.deep.example.com", 200, "longer x.deep.example.com"},
		{"y.x.deep.example.com", 200, "longer y.x.deep.example.com"},
		{"deep.example.com", 200, "suffix deep.example.com"},
		{"example.com", 200, "other example.com"},
		{"aexample.com", 200, "other aexample.com"},
		{"10.0.0.1:8080", 200, "other 10.0.0.1:8080"},
		{"[::1]:8080", 200, "other [::1]:8080"},
	}
}

func checkHosts(t *testing.T, above string) {
	port := backend(t, "x")
	files := withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"),
		"service.yaml": service("x.internal", port),
	})
	add := func(name, host string) {
		files[name+".yaml"] = routes(name, host, "  - rewrite: {uri: /"+name+"}\n"+strings.Replace(to("x.internal"), "  - ", "    ", 1))
	}
	add("exact", "a.example.com")
	add("suffix", "*.example.com")
	add("longer", "*.deep.example.com")
	add("other", "*")
	w := newWorld(t, files).run("--scoped-above", above)
	w.wait()
	w.flawless()
	defer w.neighbour().unharmed()
	clients := map[string]*http.Transport{"HTTP/1.1": {}, "HTTP/2.0": h2c()}
	for _, client := range clients {
		defer client.CloseIdleConnections()
	}
	check := func(answers []answer) {
		t.Helper()
		for version, client := range clients {
			for _, c := range answers {
				if err := c.check(client, version, w.url("/")); err != nil {
					t.Errorf("%s %s: %v", version, c.host, err)
				}
			}
		}
	}
	check(hostAnswers())

	// Without a rule for all, the rest is unknown; a wildcard that goes leaves
	// its hosts to the next.
	w.remove("other.yaml")
	w.remove("longer.yaml")
	w.wait()
	check([]answer{
		{"example.com", 404, ""},
		{"10.0.0.1:8080", 404, ""},
		{"x.deep.example.com", 200, "suffix x.deep.example.com"},
		{"a.example.com", 200, "exact a.example.com"},
	})
	w.remove("exact.yaml")
	w.wait()
	check([]answer{
		{"a.example.com", 200, "suffix a.example.com"},
		{"A.example.com.:1", 200, "suffix A.example.com.:1"},
	})
}

func (c answer) check(client http.RoundTripper, version, url string) error {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Host = c.host
	// What clients send under the name of an inner header changes nothing.
	req.Header.Set("x-sluice-scope", "http.80/evil.test")
	resp, err := client.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.Proto != version {
		return fmt.Errorf("the answer is in %s", resp.Proto)
	}
	var name, host, path string
	_, _ = fmt.Fscan(resp.Body, &name, &host, &path)
	got := strings.TrimPrefix(path, "/") + " " + host
	if resp.StatusCode != c.code || c.code == http.StatusOK && got != c.body {
		return fmt.Errorf("it answers %d %q, want %d %q", resp.StatusCode, got, c.code, c.body)
	}
	return nil
}

// h2c speaks HTTP/2 without TLS and without an upgrade.
func h2c() *http.Transport {
	only := new(http.Protocols)
	only.SetUnencryptedHTTP2(true)
	return &http.Transport{Protocols: only}
}
