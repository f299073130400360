package e2e

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
)

// encrypted is a policy of TLS towards a server and what becomes of requests.
type encrypted struct {
	name, tls string // YAML of the tls block
	server    *origin
	code      int
	body      string
}

func (c encrypted) yaml() string {
	host := c.name + ".internal"
	return fleet(host, []*origin{c.server}) + "---\n" + routes(c.name, c.name+".test", to(host)) + "---\n" + rule(host, "  trafficPolicy: {tls: {"+c.tls+"}}\n")
}

// Every mode and field of TLS towards destinations.
func TestUpstreamTLS(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	cert, client, revoked := ca.issue("secure.internal", "auto.test"), ca.issue("client"), ca.issue("revoked.internal")
	simple := secureOrigin(t, "simple", &tls.Config{Certificates: []tls.Certificate{cert.Certificate}})
	foreign := secureOrigin(t, "foreign", &tls.Config{Certificates: []tls.Certificate{stranger.issue("secure.internal").Certificate}})
	gone := secureOrigin(t, "gone", &tls.Config{Certificates: []tls.Certificate{revoked.Certificate}})
	mutual := secureOrigin(t, "mutual", &tls.Config{
		Certificates: []tls.Certificate{cert.Certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
	})
	h2 := secureOrigin(t, "h2", &tls.Config{Certificates: []tls.Certificate{cert.Certificate}, NextProtos: []string{"h2", "http/1.1"}})
	plain := newOrigin(t, "plain")
	crl, verified := ca.revoke(revoked), "caCertificates: "+ca.file
	const named = ", sni: secure.internal"
	files := "clientCertificate: " + client.certFile + ", privateKey: " + client.keyFile
	cases := []encrypted{
		{"simple", "mode: SIMPLE, " + verified + named, simple, 200, "simple sni=secure.internal client=nobody"},
		{"auto", "mode: SIMPLE, " + verified, simple, 200, "simple sni=auto.test client=nobody"},
		{"autowrong", "mode: SIMPLE, " + verified, simple, 503, ""},
		{"san", "mode: SIMPLE, " + verified + named + ", subjectAltNames: [other.internal, secure.internal]", simple, 200, "simple"},
		{"wrongsan", "mode: SIMPLE, " + verified + named + ", subjectAltNames: [other.internal]", simple, 503, ""},
		{"wrongsni", "mode: SIMPLE, " + verified + ", sni: other.internal", simple, 503, ""},
		{"snisan", "mode: SIMPLE, " + verified + ", sni: other.internal, subjectAltNames: [secure.internal]", simple, 200, "simple sni=other.internal"},
		{"roots", "mode: SIMPLE" + named, simple, 503, ""},
		{"foreign", "mode: SIMPLE, " + verified + named, foreign, 503, ""},
		{"skip", "mode: SIMPLE, insecureSkipVerify: true" + named, foreign, 200, "foreign sni=secure.internal"},
		{"crl", "mode: SIMPLE, sni: revoked.internal, caCrl: " + crl + ", " + verified, gone, 503, ""},
		{"nocrl", "mode: SIMPLE, sni: revoked.internal, " + verified, gone, 200, "gone"},
		{"crlother", "mode: SIMPLE, caCrl: " + crl + ", " + verified + named, simple, 200, "simple"},
		{"mutual", "mode: MUTUAL, " + files + ", " + verified + named, mutual, 200, "mutual sni=secure.internal client=client"},
		{"nocert", "mode: SIMPLE, " + verified + named, mutual, 503, ""},
		{"credential", "mode: MUTUAL, credentialName: client" + named, mutual, 200, "mutual sni=secure.internal client=client"},
		{"authority", "mode: SIMPLE, credentialName: authority" + named, simple, 200, "simple"},
		{"disable", "mode: DISABLE", plain, 200, "plain"},
		{"disabletls", "mode: DISABLE", simple, 400, ""},
		{"toplain", "mode: SIMPLE, " + verified + named, plain, 503, ""},
		{"noalpn", "mode: SIMPLE, " + verified + named, h2, 200, "proto=HTTP/1.1"},
	}
	world := map[string]string{
		"gateway.yaml":           edge("*"),
		"secrets/client.yaml":    secret("client", map[string]string{"tls.crt": client.certPEM, "tls.key": client.keyPEM, "ca.crt": ca.text(ca.file)}),
		"secrets/authority.yaml": secret("authority", map[string]string{"cacert": ca.text(ca.file)}),
	}
	for _, c := range cases {
		world[c.name+".yaml"] = c.yaml()
	}
	w := newWorld(t, world).run().settled()
	w.problem("InvalidValue", "DestinationRule default/skip-internal", "insecureSkipVerify")
	w.unexpectedProblems("InvalidValue")
	for _, c := range cases {
		w.expect([]outcome{{query: query{host: c.name + ".test"}, name: c.name, code: c.code, body: c.body}})
	}
}

// A Secret that is missing, or holds nothing of use, is named in the answer and
// in the status, and heals.
func TestMissingSecret(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	client := ca.issue("client")
	mutual := secureOrigin(t, "mutual", &tls.Config{
		Certificates: []tls.Certificate{ca.issue("secure.internal").Certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
	})
	w := newWorld(t, withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"),
		"late.yaml":    encrypted{name: "late", tls: "mode: MUTUAL, credentialName: late, sni: secure.internal}, connectionPool: {http: {maxRequestsPerConnection: 1}", server: mutual}.yaml(),
	})).run()
	neighbour := w.neighbour()
	w.problem("CredentialMissing", "late.yaml", "default/late")
	w.answers("late.test", "/", http.StatusServiceUnavailable, "CredentialMissing")
	w.write("secret.yaml", secret("late", map[string]string{"tls.crt": client.certPEM, "tls.key": "none", "ca.crt": ca.text(ca.file)}))
	w.problem("CredentialMissing", "late.yaml", "tls.key")
	w.answersNow("late.test", "/", http.StatusServiceUnavailable, "Credential")
	w.write("secret.yaml", secret("late", map[string]string{"tls.crt": client.certPEM, "tls.key": client.keyPEM, "ca.crt": ca.text(ca.file)}))
	w.answers("late.test", "/", http.StatusOK, "mutual sni=secure.internal client=client")
	w.flawless()
	// Another certificate of the same name takes its place.
	next := ca.issue("next")
	w.write("secret.yaml", secret("late", map[string]string{"tls.crt": next.certPEM, "tls.key": next.keyPEM, "ca.crt": ca.text(ca.file)}))
	w.eventually("the next certificate is shown", func() error {
		code, body, err := w.get("late.test", "/")
		if err == nil && (code != http.StatusOK || !strings.Contains(body, "client=next")) {
			err = unexpected(code, body)
		}
		return err
	})
	w.remove("secret.yaml")
	w.answers("late.test", "/", http.StatusServiceUnavailable, "CredentialMissing")
	neighbour.unharmed()
}

// Subsets before ports before the host; a port's policy replaces the host's,
// it does not inherit.
func TestPolicyPrecedence(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	secure := secureOrigin(t, "secure", &tls.Config{Certificates: []tls.Certificate{ca.issue("p.internal").Certificate}})
	plain := newOrigin(t, "plain")
	simple := "tls: {mode: SIMPLE, sni: p.internal, caCertificates: " + ca.file + "}"
	ports := `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: p}
spec:
  hosts: [p.internal]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: secure, protocol: HTTP}, {number: 444, name: other, protocol: HTTP}]
  endpoints:
  - {address: 127.0.0.1, labels: {v: one}, ports: {http: ` + itoa(plain.port) + `, secure: ` + itoa(secure.port) + `, other: ` + itoa(secure.port) + `}}
---
` + rule("p.internal", `  trafficPolicy:
    `+simple+`
    portLevelSettings:
    - {port: {number: 80}, loadBalancer: {simple: RANDOM}}
    - {port: {number: 443}, `+simple+`}
  subsets:
  - {name: inherits, labels: {v: one}}
  - {name: disables, labels: {v: one}, trafficPolicy: {tls: {mode: DISABLE}}}
  - {name: ports, labels: {v: one}, trafficPolicy: {tls: {mode: DISABLE}, portLevelSettings: [{port: {number: 444}, `+simple+`}]}}
`)
	files := map[string]string{"gateway.yaml": edge("*"), "p.yaml": ports}
	cases := []struct {
		name, destination string
		code              int
		body              string
	}{
		{"port-without", "port: {number: 80}", 200, "plain"},
		{"port-with", "port: {number: 443}", 200, "secure"},
		{"host", "port: {number: 444}", 200, "secure"},
		{"subset-inherits", "port: {number: 444}, subset: inherits", 200, "secure"},
		{"subset-disables", "port: {number: 444}, subset: disables", 400, ""},
		{"subset-ports", "port: {number: 444}, subset: ports", 200, "secure"},
	}
	for _, c := range cases {
		files[c.name+".yaml"] = routes(c.name, c.name+".test", "  - route: [{destination: {host: p.internal, "+c.destination+"}}]\n")
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	for _, c := range cases {
		w.expect([]outcome{{name: c.name, query: query{host: c.name + ".test"}, code: c.code, body: c.body}})
	}
}

// named is a rule of that name for a host, with the rest of its spec.
func named(name, host, spec string) string {
	return strings.Replace(rule(host, spec), "metadata: {name: "+strings.ReplaceAll(host, ".", "-"), "metadata: {name: "+name, 1)
}

// Two rules for one host are merged: the subsets of both, the policy of the
// older; what is ignored is said. The most specific host wins, and who is not
// meant is not touched.
func TestRulesOfOneHost(t *testing.T) {
	t.Parallel()
	server := newOrigin(t, "o")
	upgrade, never := "  trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}\n", "  trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}}\n"
	files := map[string]string{"gateway.yaml": edge("*")}
	for _, name := range []string{"twice", "wild", "exact", "hidden", "selected", "mine"} {
		host := name + ".rules.internal"
		files["s/"+name+".yaml"] = fleet(host, []*origin{server}, "labels: {v: one}") + "---\n" + routes(name, name+".test", to(host))
	}
	subset := func(name string) string { return "  subsets: [{name: " + name + ", labels: {v: one}}]\n" }
	files["r/1.yaml"] = named("older", "twice.rules.internal", upgrade+subset("one"))
	files["r/2.yaml"] = named("younger", "twice.rules.internal", never+subset("two"))
	files["r/3.yaml"] = named("wild", "'*.rules.internal'", upgrade)
	files["r/4.yaml"] = named("exact", "exact.rules.internal", never)
	files["r/5.yaml"] = strings.Replace(named("hidden", "hidden.rules.internal", never), "spec:\n", "spec:\n  exportTo: [shop]\n", 1)
	files["r/6.yaml"] = named("selected", "selected.rules.internal", never+"  workloadSelector: {matchLabels: {app: other}}\n")
	files["r/7.yaml"] = strings.Replace(named("mine", "mine.rules.internal", never), "metadata: {", "metadata: {namespace: istio-system, ", 1)
	for _, name := range []string{"one", "two"} {
		files["v/"+name+".yaml"] = routes(name, name+".test", "  - route: [{destination: {host: twice.rules.internal, subset: "+name+"}}]\n")
	}
	w := newWorld(t, files).run()
	w.problem("IgnoredDuplicate", "DestinationRule default/younger", "older", "trafficPolicy")
	w.problem("NotAttached", "DestinationRule default/hidden")
	w.problem("NotAttached", "DestinationRule default/selected")
	for name, proto := range map[string]string{
		"twice": "HTTP/2.0", "one": "HTTP/2.0", "two": "HTTP/2.0", "wild": "HTTP/2.0", "exact": "HTTP/1.1", "hidden": "HTTP/2.0", "selected": "HTTP/2.0",
	} {
		w.answers(name+".test", "/", http.StatusOK, "proto: "+proto)
	}
	w.unexpectedProblems("IgnoredDuplicate", "NotAttached")
}

// The service's own names are verified where the policy has none.
func TestServiceNames(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	secure := secureOrigin(t, "secure", &tls.Config{Certificates: []tls.Certificate{ca.issue("real.internal").Certificate}})
	files := map[string]string{"gateway.yaml": edge("*")}
	for name, sans := range map[string]string{"right": "real.internal", "wrong": "unreal.internal"} {
		files[name+".yaml"] = encrypted{name: name, tls: "mode: SIMPLE, sni: any.internal, caCertificates: " + ca.file, server: secure}.yaml()
		files[name+".yaml"] = strings.Replace(files[name+".yaml"], "  location:", "  subjectAltNames: ["+sans+"]\n  location:", 1)
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	w.expect([]outcome{
		{query: query{host: "right.test"}, body: "secure sni=any.internal"},
		{query: query{host: "wrong.test"}, code: 503},
	})
}
