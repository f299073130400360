package e2e

import (
	"crypto/tls"
	"strings"
	"testing"
)

// Which certificates of clients are welcome: by authority, list of revoked ones,
// name and pin, each with one that fits and one that does not.
func TestTLSClientCertificates(t *testing.T) {
	t.Parallel()
	ca, clients := newAuthority(t), newAuthority(t)
	good, bad, foreign := clients.issue("good.client"), clients.issue("bad.client"), newAuthority(t).issue("good.client")
	authority := clients.text(clients.file)
	revoked := clients.text(clients.revoke(bad))
	hosts := []struct{ name, tls string }{
		{"san", "subjectAltNames: [other.client, good.client]"},
		{"spki", "verifyCertificateSpki: ['" + good.pin(t) + "']"},
		{"hash", "verifyCertificateHash: ['" + good.digest() + "']"},
		{"colons", "verifyCertificateHash: ['" + strings.ToUpper(colons(good.digest())) + "']"},
		{"either", "verifyCertificateSpki: ['" + foreign.pin(t) + "'], verifyCertificateHash: ['" + good.digest() + "']"},
		{"crl", "caCertCredentialName: listed"},
		{"skip", "insecureSkipVerify: true"},
		{"skippin", "insecureSkipVerify: true, verifyCertificateHash: ['" + good.digest() + "']"},
	}
	files := map[string]string{
		"routes.yaml": everywhere(newOrigin(t, "o")),
		"listed.yaml": secret("listed", map[string]string{"ca.crt": authority, "ca.crl": revoked}),
	}
	var servers []string
	for _, h := range hosts {
		servers = append(servers, https("mode: MUTUAL, credentialName: "+h.name+", "+h.tls, h.name+".test"))
		files[h.name+".yaml"] = ca.issue(h.name+".test").secret(h.name, "ca.crt", authority)
	}
	files["gateway.yaml"] = secured("", servers...)
	w := newWorld(t, files).run().settled()
	w.problem("InvalidValue", "spec.servers[6].tls.insecureSkipVerify")
	w.problem("InvalidValue", "spec.servers[7].tls.insecureSkipVerify")
	for _, h := range hosts {
		at := func(show *leaf) caller { return caller{sni: h.name + ".test", trust: ca, show: show} }
		want := map[string]int{"bad": refused, "foreign": refused}
		if h.name == "skip" {
			want = map[string]int{}
		}
		w.visits(
			visit{name: h.name, caller: at(&good), body: "o " + h.name},
			visit{name: h.name + " without a certificate", caller: at(nil), code: refused},
			visit{name: h.name + " with another certificate", caller: at(&bad), code: want["bad"]},
			visit{name: h.name + " with that of another authority", caller: at(&foreign), code: want["foreign"]},
		)
	}
	// A client whose certificate is taken away is refused at its next handshake,
	// also one that would resume.
	sessions := tls.NewLRUClientSessionCache(4)
	again := visit{name: "resumed", caller: caller{sni: "san.test", trust: ca, show: &good, tune: func(c *tls.Config) { c.ClientSessionCache = sessions }}}
	w.visits(again, again)
	files["san.yaml"] = ca.issue("san.test").secret("san", "ca.crt", authority, "ca.crl", clients.text(clients.revoke(good)))
	w.write("san.yaml", files["san.yaml"])
	again.code = refused
	w.visited(again)
	w.visits(visit{name: "the others", caller: caller{sni: "spki.test", trust: ca, show: &good}})
}

// colons puts a colon between the bytes of a digest.
func colons(digest string) string {
	var parts []string
	for i := 0; i < len(digest); i += 2 {
		parts = append(parts, digest[i:i+2])
	}
	return strings.Join(parts, ":")
}
