package e2e

import (
	"crypto/tls"
	"net/http"
	"testing"
)

// A revoked certificate is refused where the list is known: from a Secret, alone
// or beside a certificate to show, or from a file. Its neighbour of the same
// authority is served, and so is the revoked one where nobody has the list.
func TestRevocation(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	client, good, bad := ca.issue("client"), ca.issue("good.internal"), ca.issue("bad.internal")
	list := ca.revoke(bad)
	foreign := stranger.revoke(stranger.issue("x"))
	serve := func(l leaf, name string) *origin {
		return secureOrigin(t, name, &tls.Config{
			Certificates: []tls.Certificate{l.Certificate}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.pool(),
		})
	}
	servers := map[string]*origin{"good": serve(good, "good"), "bad": serve(bad, "bad")}
	authority, crl := ca.text(ca.file), ca.text(list)
	world := map[string]string{
		"gateway.yaml": edge("*"),
		"listed.yaml":  secret("listed", map[string]string{"ca.crt": authority, "ca.crl": crl}),
		"short.yaml":   secret("short", map[string]string{"cacert": authority, "crl": crl}),
		"bare.yaml":    secret("bare", map[string]string{"ca.crt": authority}),
		"mutual.yaml":  secret("mutual", map[string]string{"tls.crt": client.certPEM, "tls.key": client.keyPEM, "ca.crt": authority, "ca.crl": crl}),
		"free.yaml":    secret("free", map[string]string{"tls.crt": client.certPEM, "tls.key": client.keyPEM, "ca.crt": authority}),
	}
	cases := []struct {
		name, tls string
		bad       int    // what the revoked one is answered; the neighbour 200
		client    string // whom the servers see
	}{
		{"listed", "mode: SIMPLE, credentialName: listed", 503, "nobody"},
		{"short", "mode: SIMPLE, credentialName: short", 503, "nobody"},
		{"bare", "mode: SIMPLE, credentialName: bare", 200, "nobody"},
		{"mutual", "mode: MUTUAL, credentialName: mutual", 503, "client"},
		{"free", "mode: MUTUAL, credentialName: free", 200, "client"},
		{"filelisted", "mode: SIMPLE, caCertificates: " + ca.file + ", caCrl: " + list, 503, "nobody"},
		{"filebare", "mode: SIMPLE, caCertificates: " + ca.file, 200, "nobody"},
	}
	for _, c := range cases {
		for which, s := range servers {
			name := c.name + which
			world[name+"-host.yaml"] = encrypted{name: name, tls: c.tls + ", sni: " + which + ".internal", server: s}.yaml()
		}
	}
	world["foreign-host.yaml"] = encrypted{
		name: "foreign", tls: "mode: SIMPLE, sni: good.internal, caCertificates: " + ca.file + ", caCrl: " + foreign, server: servers["good"],
	}.yaml()
	w := newWorld(t, world).run().settled()
	w.flawless()
	for _, c := range cases {
		refused := outcome{name: c.name + " revoked", query: query{host: c.name + "bad.test"}, code: c.bad}
		if refused.body = "remote connection failure"; c.bad == http.StatusOK {
			refused.body = "bad sni=bad.internal client=" + c.client
		}
		w.expect([]outcome{refused, {
			name: c.name + " neighbour", query: query{host: c.name + "good.test"}, body: "good sni=good.internal client=" + c.client,
		}})
	}
	// With a list, who is not covered by it is not known to be good.
	w.expect([]outcome{{name: "list of another authority", query: query{host: "foreign.test"}, code: 503}})
}

// A list takes effect when it appears in the Secret, and ceases when it leaves.
func TestRevocationChanges(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	good, bad := ca.issue("good.internal"), ca.issue("bad.internal")
	authority, crl := ca.text(ca.file), ca.text(ca.revoke(bad))
	const once = "}, connectionPool: {http: {maxRequestsPerConnection: 1}"
	files := map[string]string{"gateway.yaml": edge("*"), "secret.yaml": secret("ca", map[string]string{"ca.crt": authority})}
	for which, l := range map[string]leaf{"good": good, "bad": bad} {
		files[which+".yaml"] = encrypted{
			name: which, tls: "mode: SIMPLE, credentialName: ca, sni: " + which + ".internal" + once,
			server: secureOrigin(t, which, &tls.Config{Certificates: []tls.Certificate{l.Certificate}}),
		}.yaml()
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	w.answersNow("bad.test", "/", http.StatusOK, "bad")
	w.write("secret.yaml", secret("ca", map[string]string{"ca.crt": authority, "ca.crl": crl}))
	w.answers("bad.test", "/", http.StatusServiceUnavailable, "remote connection failure")
	w.answersNow("good.test", "/", http.StatusOK, "good")
	// A list that cannot be read is no reason to trust without one: that before it
	// stays in force.
	w.write("secret.yaml", secret("ca", map[string]string{"ca.crt": authority, "ca.crl": "none"}))
	w.problem("CredentialInvalid", "DestinationRule default/bad-internal", "ca.crl")
	w.answersNow("bad.test", "/", http.StatusServiceUnavailable, "")
	w.answersNow("good.test", "/", http.StatusOK, "good")
	w.write("secret.yaml", secret("ca", map[string]string{"ca.crt": authority}))
	w.answers("bad.test", "/", http.StatusOK, "bad")
	w.answersNow("good.test", "/", http.StatusOK, "good")
	w.flawless()
}
