package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// pemFolder is a folder of PEM files that an object names by path.
type pemFolder struct {
	t   *testing.T
	dir string
}

func (f pemFolder) path(name string) string { return filepath.Join(f.dir, name) }

// put replaces a file as a careful writer does.
func (f pemFolder) put(name, text string) {
	f.t.Helper()
	err := os.WriteFile(f.path("."+name), []byte(text), 0o600)
	if err == nil {
		err = os.Rename(f.path("."+name), f.path(name))
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f pemFolder) pair(name string, l leaf) {
	f.t.Helper()
	f.put(name+".crt", l.certPEM)
	f.put(name+".key", l.keyPEM)
}

// shows is the part of a tls block that names a pair.
func (f pemFolder) shows(name string) string {
	return "serverCertificate: " + f.path(name+".crt") + ", privateKey: " + f.path(name+".key")
}

// Certificates, authorities and lists that lie in files, and what becomes of them.
func TestTLSFiles(t *testing.T) {
	t.Parallel()
	ca, clients := newAuthority(t), newAuthority(t)
	client, gone := clients.issue("client"), clients.issue("gone")
	f := pemFolder{t, t.TempDir()}
	f.pair("simple", ca.issue("simple.test"))
	f.pair("rsa", ca.sign(order{names: []string{"rsa", "two.test"}, rsa: true}))
	f.pair("ecdsa", ca.issue("ecdsa", "two.test"))
	f.pair("mutual", ca.issue("mutual.test"))
	f.put("ca.pem", clients.text(clients.file))
	f.put("crl.pem", clients.text(clients.revoke(gone)))
	w := newWorld(t, map[string]string{
		"routes.yaml": everywhere(newOrigin(t, "o")),
		"gateway.yaml": secured("", https("mode: SIMPLE, "+f.shows("simple"), "simple.test"),
			https("mode: SIMPLE, tlsCertificates: [{"+f.shows("rsa")+"}, {"+f.shows("ecdsa")+"}]", "two.test"),
			https("mode: MUTUAL, "+f.shows("mutual")+", caCertificates: "+f.path("ca.pem")+", caCrl: "+f.path("crl.pem"), "mutual.test"),
			https("mode: SIMPLE, "+f.shows("late"), "late.test")),
	}).run()
	w.problem("CredentialMissing", "spec.servers[3].tls.serverCertificate", f.path("late"))
	w.unexpectedProblems("CredentialMissing")
	at := func(name string, show *leaf) caller { return caller{sni: name + ".test", trust: ca, show: show} }
	w.visits(
		visit{caller: at("simple", nil), shown: "simple.test"},
		visit{caller: at("two", nil), shown: "ecdsa"},
		visit{caller: at("mutual", &client), shown: "mutual.test"},
		visit{name: "no certificate", caller: at("mutual", nil), code: refused},
		visit{name: "revoked", caller: at("mutual", &gone), code: refused},
		visit{name: "no file", caller: caller{sni: "late.test"}, code: refused},
	)
	simple := w.poll(visit{caller: at("simple", nil)})
	f.pair("late", ca.issue("late.test"))
	w.visited(visit{caller: at("late", nil), shown: "late.test"})
	w.flawless()
	// A pair is in force when both of its files are there.
	for n := range 5 {
		name := fmt.Sprintf("turn %d", n)
		next := ca.issue(name, "simple.test")
		f.put("simple.key", next.keyPEM)
		w.visits(visit{name: "half of a pair", caller: at("simple", nil)})
		f.put("simple.crt", next.certPEM)
		w.visited(visit{caller: at("simple", nil), shown: name})
	}
	f.put("simple.crt", "none")
	w.problem("CredentialInvalid", "spec.servers[0].tls.serverCertificate")
	w.visits(visit{name: "spoiled", caller: at("simple", nil), shown: "turn 4"})
	f.pair("simple", ca.issue("last", "simple.test"))
	w.visited(visit{caller: at("simple", nil), shown: "last"})
	// A list that is replaced takes effect.
	f.put("crl.pem", clients.text(clients.revoke(client)))
	w.visited(visit{caller: at("mutual", &client), code: refused})
	w.visits(visit{name: "no longer revoked", caller: at("mutual", &gone)})
	simple.unharmed()
	w.flawless()
}
