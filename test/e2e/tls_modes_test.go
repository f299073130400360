package e2e

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Every mode, and every place from which certificates and authorities come.
func TestTLSModes(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	clients, foreign := newAuthority(t), newAuthority(t).issue("foreign")
	client := clients.issue("client")
	old := clients.sign(order{names: []string{"old"}, from: time.Now().Add(-2 * time.Hour), until: time.Now().Add(-time.Hour)})
	authority := clients.text(clients.file)
	served := func(name string) leaf { return ca.issue(name+".test", name) }
	passed := secureOrigin(t, "passed", &tls.Config{Certificates: []tls.Certificate{stranger.issue("passed.test").Certificate}})
	beside, inside, generic, named, optional := served("beside"), served("inside"), served("generic"), served("named"), served("optional")
	short, data := served("short"), served("data")
	w := newWorld(t, map[string]string{
		"gateway.yaml": secured("",
			simple("simple", "simple.test"), simple("short", "short.test"), simple("kubernetes://data", "data.test"),
			simple("root", "root.test"), simple("own", "own.test"),
			https("mode: MUTUAL, credentialName: beside", "beside.test"),
			https("mode: MUTUAL, credentialName: inside", "inside.test"),
			https("mode: MUTUAL, credentialName: generic", "generic.test"),
			https("mode: MUTUAL, credentialName: named, caCertCredentialName: clients", "named.test"),
			https("mode: OPTIONAL_MUTUAL, credentialName: optional", "optional.test"),
			https("mode: ISTIO_MUTUAL", "mesh.test"), ends("TLS", "mode: AUTO_PASSTHROUGH", "auto.test"),
			ends("TLS", "mode: PASSTHROUGH", "passed.test"),
		),
		"routes.yaml": everywhere(newOrigin(t, "o")),
		"passed.yaml": lines("passed.internal", &lineServer{port: passed.port}) + "---\n" +
			strings.Replace(streams("passed", "passed.test", "  tls:\n  - match: [{sniHosts: [passed.test]}]\n    route: [{destination: {host: passed.internal}}]\n"), "[l4]", "[edge]", 1),
		"secrets.yaml": strings.Join([]string{
			served("simple").secret("simple"),
			secret("short", map[string]string{"cert": short.certPEM, "key": short.keyPEM}),
			encoded("data", map[string]string{"tls.crt": data.certPEM, "tls.key": data.keyPEM}),
			inNamespace("istio-system", served("root").secret("root")),
			inNamespace("istio-system", stranger.issue("not own").secret("own")), served("own").secret("own"),
			beside.secret("beside"), secret("beside-cacert", map[string]string{"cacert": authority}),
			inside.secret("inside", "ca.crt", authority),
			secret("generic", map[string]string{"cert": generic.certPEM, "key": generic.keyPEM, "cacert": authority}),
			named.secret("named", "ca.crt", stranger.text(stranger.file)), secret("clients", map[string]string{"ca.crt": authority}),
			optional.secret("optional", "ca.crt", authority),
		}, "---\n"),
	}).run()
	w.problem("WaitingForMesh", "spec.servers[10].tls.mode", "ISTIO_MUTUAL")
	w.problem("WaitingForMesh", "spec.servers[11].tls.mode", "AUTO_PASSTHROUGH")
	w.unexpectedProblems("WaitingForMesh")
	for _, name := range []string{"simple", "short", "data", "root", "own"} {
		w.visits(visit{caller: caller{sni: name + ".test", trust: ca}, body: "o " + name + ".test", shown: name + ".test"},
			visit{name: name + " shown a certificate", caller: caller{sni: name + ".test", trust: ca, show: &foreign}, not: "x-forwarded-client-cert"})
	}
	w.checkMutual(ca, &client, []*leaf{&foreign, &old})
	w.visits(
		visit{name: "passed through", caller: caller{sni: "passed.test", trust: stranger, h1: true}, body: "passed sni=passed.test"},
		visit{name: "waiting for the mesh", caller: caller{sni: "mesh.test"}, code: refused},
		visit{name: "waiting for the mesh too", caller: caller{sni: "auto.test"}, code: refused},
	)
}

// checkMutual shows the hosts of mutual modes a good certificate, bad ones and
// none.
func (w *world) checkMutual(ca *authority, good *leaf, bad []*leaf) {
	w.t.Helper()
	for _, name := range []string{"beside", "inside", "generic", "named", "optional"} {
		at := func(show *leaf) caller { return caller{sni: name + ".test", trust: ca, show: show} }
		none := visit{name: name + " without a certificate", caller: at(nil), code: refused}
		if name == "optional" {
			none.code = 200
		}
		w.visits(none,
			visit{name: name, caller: at(good), body: "o " + name + ".test", shown: name + ".test"})
		for _, b := range bad { // of another authority, and expired
			w.visits(visit{name: name + " with a bad certificate", caller: at(b), code: refused})
		}
	}
}

// What a destination hears of the client: who showed a certificate, and that it
// came over TLS. What clients say of it themselves is dropped.
func TestTLSForwarding(t *testing.T) {
	t.Parallel()
	ca, clients := newAuthority(t), newAuthority(t)
	client := clients.issue("client", "client.alias")
	authority := clients.text(clients.file)
	w := newWorld(t, map[string]string{
		"gateway.yaml": secured("", simple("simple", "simple.test"),
			https("mode: MUTUAL, credentialName: mutual", "mutual.test"), https("mode: OPTIONAL_MUTUAL, credentialName: optional", "optional.test")),
		"routes.yaml": everywhere(newOrigin(t, "o")),
		"secrets.yaml": ca.issue("simple.test").secret("simple") + "---\n" + ca.issue("mutual.test").secret("mutual", "ca.crt", authority) + "---\n" +
			ca.issue("optional.test").secret("optional", "ca.crt", authority),
	}).run().settled()
	w.flawless()
	const forged = "x-forwarded-client-cert: Hash=forged;Subject=\"CN=root\"\nx-forwarded-proto: http"
	hears := func(words ...string) func(echo) error {
		return func(a echo) error {
			got := a.said("x-forwarded-client-cert")
			if got == "" && len(words) > 0 || got != "" && len(words) == 0 || !containsAll(got, words) || strings.Contains(got, "forged") {
				return fmt.Errorf("the destination hears x-forwarded-client-cert %q, want %q", got, words)
			}
			if got := a.said("x-forwarded-proto"); got != "https" {
				return fmt.Errorf("the destination hears x-forwarded-proto %q", got)
			}
			return nil
		}
	}
	whole := hears("Hash="+client.digest(), `Subject="CN=client"`, "DNS=client", "DNS=client.alias", "Cert=")
	for _, h1 := range []bool{true, false} {
		at := func(name string, show *leaf) caller {
			return caller{sni: name + ".test", trust: ca, show: show, h1: h1}
		}
		for _, headers := range []string{"", forged} {
			q := query{headers: headers}
			w.visits(
				visit{name: "simple", caller: at("simple", nil), query: q, check: hears()},
				visit{name: "simple with a certificate", caller: at("simple", &client), query: q, check: hears()},
				visit{name: "mutual", caller: at("mutual", &client), query: q, check: whole},
				visit{name: "optional", caller: at("optional", &client), query: q, check: whole},
				visit{name: "optional without a certificate", caller: at("optional", nil), query: q, check: hears()},
			)
		}
	}
}
