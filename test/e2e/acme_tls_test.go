package e2e

import (
	"net/http"
	"syscall"
	"testing"

	"github.com/sluicegw/sluice/tls/acme/pebbletest"
)

// Challenges by TLS-ALPN-01 come through Envoy where there is no plain HTTP at
// all, beside hosts with certificates of their own, which notice nothing.
func TestACMEOverTLS(t *testing.T) { layouts(t, overTLS) }

func overTLS(t *testing.T, metadata string) {
	s := newSigning(t, reachable{tls: true}, pebbletest.Options{})
	own := newAuthority(t)
	servers := []string{
		simple("own", "own.test"), simple("wild", "*.wild.test"), simple("acme", "asked.test"), automatic("first.test"),
		https("mode: MUTUAL, credentialName: acme, caCertCredentialName: own", "mutual.test"), ends("TLS", "mode: SIMPLE", "stream.test"),
	}
	s.put("streams.yaml", lines("lines.internal", newLineServer(t, "line", nil))+"---\n"+tcpRoute("stream", "stream.test", "lines.internal"))
	s.put("secrets.yaml", own.issue("own.test").secret("own", "ca.crt", own.text(own.file))+"---\n"+own.issue("*.wild.test").secret("wild"))
	s.put("gateway.yaml", secured(metadata, servers...))
	s.launch().settled()
	neighbour := s.poll(visit{caller: caller{sni: "own.test", trust: own}, shown: "own.test"})
	s.signed("asked.test")
	s.signed("first.test")
	// A name of its own below the wildcard of a Secret, and one that comes later.
	s.put("gateway.yaml", secured(metadata, append(servers, automatic("auto.wild.test"), automatic("later.test"))...))
	s.signed("auto.wild.test")
	s.signed("later.test")
	s.visits(visit{name: "the rest of the wildcard", caller: caller{sni: "b.wild.test", trust: own}, shown: "*.wild.test"})
	client := own.issue("client")
	mutual, stream := s.verified("mutual.test"), s.verified("stream.test")
	s.visits(visit{name: "a stranger", caller: mutual, code: refused})
	mutual.show = &client
	s.visited(visit{caller: mutual, body: "o mutual.test"})
	s.eventually("lines inside TLS", func() error { return lineVisit{caller: stream, want: "line"}.fault(s.world) })
	s.flawless()
	s.ordered(1, 1, "asked.test", "first.test", "auto.wild.test", "later.test", "mutual.test", "stream.test")
	s.ordered(0, 0, "own.test", "*.wild.test", "b.wild.test")
	// Who leaves is closed, and nobody's business any more.
	s.put("gateway.yaml", secured(metadata, append(servers, automatic("auto.wild.test"))...))
	s.settled()
	s.closed("later.test")
	if doc, any := s.certificates()["later.test"]; any {
		t.Errorf("a host that left is %+v", doc)
	}
	if value := s.metric(`sluice_certificate_expiry_seconds{host="later.test"}`); value != "" {
		t.Errorf("a host that left expires at %s", value)
	}
	neighbour.unharmed()
	// Who comes back has its certificate still.
	s.put("gateway.yaml", secured(metadata, append(servers, automatic("auto.wild.test"), automatic("later.test"))...))
	s.settled()
	s.serial("later.test")
	s.ordered(1, 1, "later.test")
}

// What stands in the way of an automatic certificate is told where it was asked
// for, and closes nobody else.
func TestACMEAsked(t *testing.T) {
	t.Parallel()
	s := newSigning(t, reachable{tls: true}, pebbletest.Options{})
	s.put("gateway.yaml", secured("", simple("acme", "asked.test"), simple("acme", "*.wild.test"), simple("acme", "*"), automatic("implied.test")))
	s.put("annotated.yaml", gatewayNamed("annotated", ", annotations: {sluice.dev/tls: auto}", automatic("annotated.test")))
	s.put("routes.yaml", everywhereOf(newOrigin(t, "o"), "edge", "annotated"))
	s.run(s.directory()...) // without an address
	s.signed("asked.test")
	s.signed("annotated.test")
	s.problem("CredentialMissing", "gateway.yaml", `"implied.test"`, "--acme-email", "sluice.dev/tls: auto")
	s.problem("CredentialMissing", "gateway.yaml", `"*.wild.test"`, "DNS-01", "--acme-dns")
	s.problem("CredentialMissing", "gateway.yaml", `"*"`, "no name that an authority signs")
	s.unexpectedProblems("CredentialMissing")
	for _, host := range []string{"implied.test", "a.wild.test", "nobody.test"} {
		s.closed(host)
	}
	s.ordered(0, 0, "implied.test", "*.wild.test", "*")
	s.stop(syscall.SIGTERM)
	s.launch()
	s.signed("implied.test")
	s.ordered(1, 1, "asked.test", "annotated.test", "implied.test")
}

// A host that cannot be bound does not keep others from their certificates.
func TestACMEBesideATakenPort(t *testing.T) {
	t.Parallel()
	s := newSigning(t, reachable{http: true, tls: true}, pebbletest.Options{})
	taken := newOrigin(t, "taken")
	s.put("gateway.yaml", secured("", plainly("", "shop.test"), automatic("shop.test")))
	s.put("taken.yaml", gatewayNamed("taken", "", "  - {port: {number: "+itoa(taken.port)+", name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: ['*']}\n"))
	s.put("routes.yaml", everywhereOf(newOrigin(t, "o"), "edge", "taken"))
	s.start(append(s.directory(), "--acme-email", "you@example.org")...)
	s.problem("BindFailed", itoa(taken.port))
	s.signed("shop.test")
	s.plainAnswers("shop.test", "/", http.StatusOK, "o shop.test")
}
