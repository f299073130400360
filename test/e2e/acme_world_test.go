package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicegw/sluice/tls/acme/pebbletest"
)

// signing is a world whose certificates come from an ACME authority.
type signing struct {
	*world
	ca    *pebbletest.Authority
	roots *x509.CertPool // above what the authority signs
	plain int            // a free port, for plain HTTP
}

// reachable are the ways by which the authority comes to a world.
type reachable struct{ http, tls bool }

// newSigning makes a world and an authority that looks for challenges where it
// says; "$PLAIN" in the files stands for the port of plain HTTP, and $PORT for that
// of TLS.
func newSigning(t *testing.T, by reachable, o pebbletest.Options) *signing {
	t.Helper()
	s := &signing{world: newWorld(t, nil), plain: freePort(t)}
	if by.http {
		o.HTTPPort = s.plain
	}
	if by.tls {
		o.TLSPort = s.port
	}
	s.certify(pebbletest.Start(t, o))
	s.put("routes.yaml", everywhere(newOrigin(t, "o")))
	return s
}

// certify has certificates come from an authority.
func (s *signing) certify(ca *pebbletest.Authority) {
	s.ca, s.roots = ca, ca.Roots(s.t)
}

// put writes a file.
func (s *signing) put(name, text string) {
	s.t.Helper()
	s.write(name, strings.ReplaceAll(text, "$PLAIN", itoa(s.plain)))
}

// directory are the flags that name the authority.
func (s *signing) directory() []string {
	return []string{"--acme-directory", s.ca.Directory + "#roots=" + s.ca.RootsFile}
}

// launch starts the program with the authority, and waits until it serves.
func (s *signing) launch(flags ...string) *signing {
	s.t.Helper()
	s.run(append(append(s.directory(), "--acme-email", "you@example.org"), flags...)...)
	return s
}

// automatic is a server on the free port that names no certificate.
func automatic(hosts ...string) string { return https("mode: SIMPLE", hosts...) }

// plainly is a server for plain HTTP, with more of its fields in YAML.
func plainly(more string, hosts ...string) string {
	name := strings.NewReplacer(".", "-", "*", "any").Replace(hosts[0])
	return "  - {port: {number: $PLAIN, name: http-" + name + ", protocol: HTTP}, bind: 127.0.0.1, hosts: ['" + strings.Join(hosts, "', '") + "']" + more + "}\n"
}

// verified is a client that takes certificates of the authority only.
func (s *signing) verified(sni string) caller {
	return caller{sni: sni, tune: func(c *tls.Config) { c.RootCAs, c.InsecureSkipVerify = s.roots, false }}
}

// signed waits until a host is answered with a certificate of the authority, and
// returns its serial number.
func (s *signing) signed(host string) (serial *big.Int) {
	s.t.Helper()
	s.visited(visit{caller: s.verified(host), body: "o " + host, check: func(a echo) error {
		serial = a.tls.PeerCertificates[0].SerialNumber
		return nil
	}})
	return serial
}

// certificate returns the certificate of the authority that a host is answered
// with, at the first try.
func (s *signing) certificate(host string) *x509.Certificate {
	s.t.Helper()
	a, err := s.call(s.verified(host), query{})
	if err != nil {
		s.t.Fatalf("%s: %v", host, err)
	}
	return a.tls.PeerCertificates[0]
}

// serial returns the serial number of certificate.
func (s *signing) serial(host string) *big.Int {
	s.t.Helper()
	return s.certificate(host).SerialNumber
}

// renewed waits until a host is answered with another certificate than before.
func (s *signing) renewed(host string, before *big.Int) (serial *big.Int) {
	s.t.Helper()
	s.eventually("another certificate of "+host, func() error {
		if serial = s.serial(host); serial.Cmp(before) == 0 {
			return errNot("another certificate")
		}
		return nil
	})
	return serial
}

// closed expects that a host gets no certificate.
func (s *signing) closed(host string) {
	s.t.Helper()
	s.visits(visit{name: host + " is closed", caller: caller{sni: host}, code: refused})
}

// ordered expects a number of orders for hosts so far. An authority that was asked
// for the challenge that cannot reach us is asked again for the other.
func (s *signing) ordered(least, most int, hosts ...string) {
	s.t.Helper()
	for _, host := range hosts {
		if n := s.ca.Orders(host); n < least || n > most {
			s.t.Errorf("%d orders for %s, want %d to %d", n, host, least, most)
		}
	}
}

// certificateDoc is one line of `sluice certificates -o json`.
type certificateDoc struct {
	Host, Source, State, Issuer, Error string
	NotAfter, Renewal, NextTry         *time.Time
}

// certificates runs `sluice certificates` and returns what it says by host.
func (w *world) certificates() map[string]certificateDoc {
	w.t.Helper()
	code, text := w.sluice("certificates", "-o", "json")
	var docs []certificateDoc
	if err := json.Unmarshal([]byte(text), &docs); err != nil || code != 0 {
		w.t.Fatalf("exit %d, %v: %s", code, err, text)
	}
	out := map[string]certificateDoc{}
	for _, d := range docs {
		out[d.Host] = d
	}
	return out
}

// certified waits until `sluice certificates` says what it should of a host.
func (w *world) certified(host string, fits func(certificateDoc) bool) (doc certificateDoc) {
	w.t.Helper()
	w.eventually("the state of "+host, func() error {
		if doc = w.certificates()[host]; !fits(doc) {
			return fmt.Errorf("it is %+v", doc)
		}
		return nil
	})
	return doc
}

// plainGet asks for a path of a host in plain HTTP.
func (s *signing) plainGet(host, path string) (int, string, error) {
	return fetch(fmt.Sprintf("http://127.0.0.1:%d%s", s.plain, path), host)
}

// plainAnswers expects an answer in plain HTTP at the first try.
func (s *signing) plainAnswers(host, path string, code int, body string) {
	s.t.Helper()
	c, b, err := s.plainGet(host, path)
	if err != nil || c != code || !strings.Contains(b, body) {
		s.t.Errorf("%s%s answers %d %q %v, want %d %q", host, path, c, b, err, code, body)
	}
}

// metric returns the value of a metric with its labels; "" if there is none.
func (w *world) metric(name string) string {
	w.t.Helper()
	_, text, err := fetch("http://"+w.admin+"/metrics", "")
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// seconds writes the value of a metric without exponent.
func seconds(t *testing.T, value string) string {
	t.Helper()
	f, err := strconv.ParseFloat(value, 64)
	if err != nil {
		t.Fatalf("%q is no number", value)
	}
	return strconv.FormatFloat(f, 'f', 0, 64)
}

// challenge is a path that the authority may ask for.
const challenge = "/.well-known/acme-challenge/token"

// handed reports whether a challenge for a host comes to who answers: it says that
// there is none, in other words than Envoy's.
func (s *signing) handed(host string) error {
	code, body, err := s.plainGet(host, challenge)
	if err == nil && (code != http.StatusNotFound || !strings.Contains(body, "404 page not found")) {
		err = unexpected(code, body)
	}
	return err
}

// gatewayNamed is a gateway with a name, more metadata and servers.
func gatewayNamed(name, metadata string, servers ...string) string {
	return strings.Replace(l4(metadata, servers...), "{name: l4", "{name: "+name, 1)
}

// everywhereOf sends the hosts of gateways to one origin.
func everywhereOf(o *origin, gateways ...string) string {
	return strings.Replace(everywhere(o), "gateways: [edge]", "gateways: ["+strings.Join(gateways, ", ")+"]", 1)
}
