package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// onDemand is the metadata of a gateway whose hosts share a chain.
const onDemand = ", annotations: {sluice.dev/tls-layout: on-demand}"

// layouts runs a test with a chain for each host, and with one for all.
func layouts(t *testing.T, test func(t *testing.T, metadata string)) {
	t.Helper()
	t.Parallel()
	for name, metadata := range map[string]string{"chains": "", "on-demand": onDemand} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, metadata)
		})
	}
}

// brokenSecret is what can be wrong with one, and how it is told.
type brokenSecret struct {
	name, text string // YAML; "" is no Secret
	mutual     bool
	served     bool // all the same
	reason     string
	words      []string
}

func brokenSecrets(t *testing.T, ca *authority) []brokenSecret {
	t.Helper()
	at := func(name string) leaf { return ca.issue(name+".broken.test", "*.broken.test") }
	authority := ca.text(ca.file)
	pair, other, pem, nokey := at("pair"), at("other"), at("pem"), at("nokey")
	locked, empty, clients, bare, list := at("locked"), at("empty"), at("clients"), at("bare"), at("list")
	day := 24 * time.Hour
	timed := func(name string, from time.Duration) leaf {
		return ca.sign(order{names: []string{name + ".broken.test"}, from: time.Now().Add(from), until: time.Now().Add(from + day)})
	}
	return []brokenSecret{
		{name: "missing", reason: "CredentialMissing", words: []string{"there is no Secret default/missing"}},
		{name: "pair", text: secret("pair", map[string]string{"tls.crt": pair.certPEM, "tls.key": other.keyPEM}), reason: "CredentialInvalid", words: []string{"private key under tls.key does not belong to the first certificate under tls.crt"}},
		{name: "pem", text: secret("pem", map[string]string{"tls.crt": strings.ReplaceAll(pem.certPEM, "CERTIFICATE", "CERTIFICAT"), "tls.key": pem.keyPEM}), reason: "CredentialInvalid", words: []string{"tls.crt has no certificate in PEM"}},
		{name: "garbled", text: secret("garbled", map[string]string{"tls.crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "tls.key": pem.keyPEM}), reason: "CredentialInvalid", words: []string{"certificate 1 under tls.crt cannot be read"}},
		{name: "swapped", text: secret("swapped", map[string]string{"tls.crt": pem.keyPEM, "tls.key": pem.certPEM}), reason: "CredentialInvalid", words: []string{"tls.crt"}},
		{name: "nokey", text: secret("nokey", map[string]string{"tls.crt": nokey.certPEM}), reason: "CredentialInvalid", words: []string{"no private key"}},
		{name: "locked", text: secret("locked", map[string]string{"tls.crt": locked.certPEM, "tls.key": locked.encryptedKey(t)}), reason: "CredentialInvalid", words: []string{"under tls.key is encrypted"}},
		{name: "empty", text: secret("empty", map[string]string{"other": empty.certPEM}), reason: "CredentialInvalid", words: []string{"no certificate"}},
		{name: "clients", mutual: true, text: clients.secret("clients", "ca.crt", other.certPEM), reason: "CredentialInvalid", words: []string{"certificate 1 under ca.crt is not that of an authority"}},
		{name: "bare", mutual: true, text: bare.secret("bare"), reason: "CredentialInvalid", words: []string{"no certificate of an authority"}},
		{name: "list", mutual: true, text: list.secret("list", "ca.crt", authority, "ca.crl", "none"), reason: "CredentialInvalid", words: []string{"ca.crl has no revocation list"}},
		{name: "expired", served: true, text: timed("expired", -2*day).secret("expired"), reason: "CertificateExpired", words: []string{"Secret default/expired expired at"}},
		{name: "early", served: true, text: timed("early", day).secret("early"), reason: "CertificateNotYet", words: []string{"Secret default/early is valid from"}},
	}
}

// One bad Secret is the fault of its own host: that is closed and says why, the
// wildcard beside it does not take its name, the neighbours serve all the time and
// the cure is live at once.
func TestTLSBrokenSecrets(t *testing.T) { layouts(t, brokenHosts) }

func brokenHosts(t *testing.T, metadata string) {
	ca := newAuthority(t)
	cases := brokenSecrets(t, ca)
	files := map[string]string{
		"routes.yaml": everywhere(newOrigin(t, "o")),
		"wild.yaml":   ca.issue("wild", "*.broken.test").secret("wild"), "neighbour.yaml": ca.issue(neighbourHost).secret("neighbour"),
	}
	servers := []string{simple("wild", "*.broken.test"), simple("neighbour", neighbourHost)}
	for _, c := range cases {
		mode := "SIMPLE"
		if c.mutual {
			mode = "MUTUAL"
		}
		servers = append(servers, https("mode: "+mode+", credentialName: "+c.name, c.name+".broken.test"))
		if c.text != "" {
			files[c.name+".yaml"] = c.text
		}
	}
	files["gateway.yaml"] = secured(metadata, servers...)
	w := newWorld(t, files).run()
	neighbours := []*traffic{w.poll(visit{caller: caller{sni: neighbourHost, trust: ca}}), w.poll(visit{caller: caller{sni: "any.broken.test", trust: ca}, shown: "wild"})}
	pid := w.status().Envoy.PID
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			heal(w, c, fmt.Sprintf("spec.servers[%d].tls.credentialName", i+2), ca)
		})
	}
	for _, n := range neighbours {
		n.unharmed()
	}
	w.flawless()
	if now := w.status().Envoy; now.PID != pid || now.Restarts != 0 {
		t.Errorf("envoy is %+v, was %d", now, pid)
	}
}

// heal looks at a host with a bad Secret, cures that, spoils it again, which is
// not worse than before, and cures it for good.
func heal(w *world, c brokenSecret, field string, ca *authority) {
	host := c.name + ".broken.test"
	words := append([]string{"Gateway default/edge", field}, c.words...)
	w.problem(c.reason, words...)
	if _, out := w.sluice("status", "-o", "json"); !containsAll(out, append([]string{c.reason}, c.words...)) {
		w.t.Errorf("sluice status does not say %s %q:\n%s", c.reason, c.words, out)
	}
	first := visit{name: "bad", caller: caller{sni: host}, code: refused}
	if c.served {
		first.code, first.shown = 200, host
	}
	w.visits(first)
	good, authority, client := ca.issue("first", host), ca.text(ca.file), ca.issue("client")
	well := visit{caller: caller{sni: host, trust: ca}, shown: "first", body: "o " + host}
	if c.mutual {
		well.show = &client
	}
	w.write(c.name+".yaml", good.secret(c.name, "ca.crt", authority))
	w.visited(well)
	w.eventually("the problem is gone", func() error {
		for _, p := range w.status().all() {
			if strings.Contains(p.text, field) {
				return fmt.Errorf("the problem stays: %s", p.text)
			}
		}
		return nil
	})
	if c.text == "" {
		w.remove(c.name + ".yaml")
		w.problem(c.reason, words...)
		w.visited(first)
	} else {
		w.write(c.name+".yaml", c.text)
		w.problem(c.reason, words...)
		switch {
		case c.served:
			well = first
			w.visited(well)
		case c.mutual: // whose certificate is as good as the one before
			well.shown = host
			w.visited(well)
		}
		w.visits(well)
	}
	w.write(c.name+".yaml", ca.issue("second", host).secret(c.name, "ca.crt", authority))
	well.code, well.shown = 0, "second"
	if !c.served {
		well.trust = ca
	}
	w.visited(well)
}
