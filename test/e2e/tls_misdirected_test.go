package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// A connection that was opened for one host and asks for another: hosts of the
// same certificate and demands are answered, others are elsewhere, whatever the
// spelling of the name. On a shared chain the certificate makes no difference.
func TestTLSMisdirected(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ above, metadata string }{
		"one table": {"256", ""}, "a table for each host": {"0", ""}, "on-demand": {"256", onDemand}, "on-demand with a table for each host": {"0", onDemand},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			misdirected(t, c.above, c.metadata)
		})
	}
}

// mixedPolicies are hosts of three policies on one port.
func mixedPolicies(t *testing.T, ca, clients *authority) map[string]string {
	t.Helper()
	mutual := ca.issue("mutual", "m.test", "m.w.test", "*.m.w.test").secret("mutual", "ca.crt", clients.text(clients.file))
	files := map[string]string{
		"gateway.yaml": secured("",
			simple("ab", "a.test", "b.test", "empty.test"), simple("c", "c.test"), simple("w", "*.w.test"),
			https("mode: MUTUAL, credentialName: mutual", "m.test", "m.w.test", "*.m.w.test"),
			https("mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_3", "v.test")),
		"secrets.yaml": ca.issue("ab", "a.test", "b.test", "empty.test").secret("ab") + "---\n" + ca.issue("c", "c.test", "v.test").secret("c") + "---\n" +
			ca.issue("w", "*.w.test").secret("w") + "---\n" + mutual,
		"o.yaml": fleet("o.internal", []*origin{newOrigin(t, "o")}),
	}
	for name, host := range map[string]string{"a": "a.test", "b": "b.test", "c": "c.test", "w": "*.w.test", "m": "m.test", "mw": "m.w.test", "qmw": "*.m.w.test", "v": "v.test"} {
		files[name+".yaml"] = routes(name, host, to("o.internal"))
	}
	return files
}

func misdirected(t *testing.T, above, metadata string) {
	ca, clients := newAuthority(t), newAuthority(t)
	client := clients.issue("client")
	files := mixedPolicies(t, ca, clients)
	files["gateway.yaml"] = strings.Replace(files["gateway.yaml"], "{name: edge", "{name: edge"+metadata, 1)
	w := newWorld(t, files).run("--scoped-above", above).settled()
	w.unexpectedProblems("UnreachableRule") // the route of a wildcard behind that of a name
	const elsewhere = http.StatusMisdirectedRequest
	other := elsewhere // a host with another certificate
	if metadata == onDemand {
		other = http.StatusOK
	}
	for _, h1 := range []bool{false, true} {
		simple := w.mustOpen(caller{sni: "a.test", trust: ca, h1: h1})
		simple.expect(t, map[string]int{
			"a.test": 200, "a.test:" + itoa(w.port): 200, "a.test:443": 200, "A.Test": 200, "a.test.": 200,
			"b.test": 200, "c.test": other, "x.w.test": other, "x.w.test:443": other, "y.x.w.test": other, "empty.test": 404,
			"m.test": elsewhere, "m.test:443": elsewhere, "M.TEST": elsewhere, "m.test.": elsewhere, "M.test.:8443": elsewhere,
			"m.w.test": elsewhere, "M.w.Test:443": elsewhere, "q.m.w.test": elsewhere, "q.M.w.test.": elsewhere, "r.q.m.w.test": elsewhere,
			"v.test": elsewhere, "nobody.example": elsewhere,
		})
		w.mustOpen(caller{sni: "x.w.test", trust: ca, h1: h1}).expect(t, map[string]int{"x.w.test": 200, "y.x.w.test": 200, "a.test": other, "m.w.test": elsewhere, "q.m.w.test": elsewhere, "m.test": elsewhere})
		w.mustOpen(caller{sni: "m.test", trust: ca, show: &client, h1: h1}).expect(t, map[string]int{
			"m.test": 200, "m.w.test": 200, "q.m.w.test": 200, "a.test": elsewhere, "x.w.test": elsewhere, "v.test": elsewhere,
		})
		w.mustOpen(caller{sni: "v.test", trust: ca, h1: h1}).expect(t, map[string]int{"v.test": 200, "a.test": elsewhere, "m.test": elsewhere})
	}
	// Who takes any host does not reach those of others by their names.
	w.write("any.yaml", ca.issue("any", "*.example").secret("any")+"---\n"+routes("any", "*", to("o.internal")))
	w.write("gateway.yaml", files["gateway.yaml"]+simple("any", "*"))
	w.visited(visit{caller: caller{sni: "nobody.example"}, shown: "any"})
	for sni, mine := range map[string]map[string]int{
		"nobody.example": {"nobody.example": 200, "a.test": other}, "a.test": {"nobody.example": other, "a.test": 200},
	} {
		s := w.mustOpen(caller{sni: sni})
		s.expect(t, mine)
		s.expect(t, map[string]int{
			"c.test": other, "x.w.test": other, "m.test": elsewhere, "M.test:443": elsewhere, "m.test.": elsewhere,
			"m.w.test": elsewhere, "q.m.w.test": elsewhere, "v.test": elsewhere,
		})
	}
	w.mustOpen(caller{sni: "m.test", show: &client}).expect(t, map[string]int{"m.test": 200, "nobody.example": elsewhere, "a.test": elsewhere})
	// A host that changes its policy is elsewhere from then on.
	w.write("gateway.yaml", strings.Replace(files["gateway.yaml"], "mode: SIMPLE, credentialName: c}", "mode: MUTUAL, credentialName: mutual}", 1))
	w.visited(visit{caller: caller{sni: "c.test", show: &client}, shown: "mutual"})
	w.visits(visit{name: "changed", caller: caller{sni: "c.test", show: &client}}, visit{name: "changed without a certificate", caller: caller{sni: "c.test"}, code: refused})
}

// expect asks for hosts over one connection, in HTTP/2 and HTTP/1.1.
func (s *session) expect(t *testing.T, hosts map[string]int) {
	t.Helper()
	for host, want := range hosts {
		a, err := s.ask(query{host: host})
		if err != nil || a.code != want {
			t.Errorf("opened for %q, asked for %q over %s, it answers %d %q %v, want %d", s.sni, host, a.proto, a.code, a.body, err, want)
		}
	}
}
