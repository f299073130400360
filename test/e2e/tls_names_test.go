package e2e

import (
	"crypto/tls"
	"testing"
)

// upper sends the server name in capitals.
func upper(name string) func(*tls.Config) {
	return func(c *tls.Config) { c.ServerName = name }
}

// Which certificate a name gets: the exact host before the wildcard, the longer
// wildcard before the shorter, and nobody's name gets none.
func TestTLSNames(t *testing.T) { layouts(t, serverNames) }

func serverNames(t *testing.T, metadata string) {
	ca := newAuthority(t)
	files := map[string]string{"routes.yaml": everywhere(newOrigin(t, "o"))}
	var secrets string
	for name, host := range map[string]string{"exact": "a.wild.test", "wild": "*.wild.test", "deep": "*.deep.wild.test", "alone": "alone.test"} {
		secrets += ca.issue(name, host).secret(name) + "---\n"
	}
	files["secrets.yaml"] = secrets
	files["gateway.yaml"] = secured(metadata, simple("wild", "*.wild.test"), simple("exact", "a.wild.test"), simple("deep", "*.deep.wild.test"), simple("alone", "alone.test"))
	w := newWorld(t, files).run().settled()
	w.flawless()
	trusted := func(sni, shown string) visit {
		return visit{caller: caller{sni: sni, trust: ca}, shown: shown, body: "o " + sni}
	}
	loose := func(sni, shown string) visit { return visit{caller: caller{sni: sni}, shown: shown, body: "o " + sni} }
	closed := func(sni string) visit { return visit{caller: caller{sni: sni}, code: refused} }
	w.visits(
		trusted("a.wild.test", "exact"), trusted("b.wild.test", "wild"), trusted("x.deep.wild.test", "deep"), trusted("alone.test", "alone"),
		// A wildcard covers deeper names too, as in Istio; clients say whether they
		// take its certificate for them.
		loose("x.y.wild.test", "wild"), loose("x.a.wild.test", "wild"), loose("x.y.deep.wild.test", "deep"), loose("deep.wild.test", "wild"),
		visit{name: "capitals", caller: caller{sni: "a.wild.test", tune: upper("A.Wild.TEST")}, shown: "exact"},
		closed("wild.test"), closed("awild.test"), closed("a.alone.test"), closed("nobody.example"), closed("test"),
		visit{name: "no name", caller: caller{}, query: query{host: "alone.test"}, code: refused},
		visit{name: "an address", caller: caller{sni: "127.0.0.1"}, query: query{host: "alone.test"}, code: refused},
	)
	// Who declares any host serves them all.
	w.write("any.yaml", ca.issue("any", "*.example").secret("any"))
	w.write("gateway.yaml", files["gateway.yaml"]+simple("any", "*"))
	w.visited(loose("nobody.example", "any"))
	w.visits(
		visit{name: "no name but any host", caller: caller{}, query: query{host: "alone.example"}, shown: "any", body: "o alone.example"},
		loose("wild.test", "any"), trusted("a.wild.test", "exact"), trusted("b.wild.test", "wild"), loose("x.y.wild.test", "wild"), trusted("alone.test", "alone"),
	)
	w.flawless()
	// And without it they are closed again.
	w.write("gateway.yaml", files["gateway.yaml"])
	w.visited(closed("nobody.example"))
	w.visits(closed("wild.test"), trusted("b.wild.test", "wild"))
}
