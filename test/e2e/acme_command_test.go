package e2e

import (
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegw/sluice/tls/acme/pebbletest"
)

// held stops requests to the authority whose path begins so, until it is let go.
type held struct {
	asked chan *http.Request // one for each that came
	let   func()
}

// hold has the authority keep requests waiting.
func (s *signing) hold(path string) held {
	gate := make(chan struct{})
	h := held{asked: make(chan *http.Request, 1000), let: sync.OnceFunc(func() { close(gate) })}
	s.t.Cleanup(h.let)
	s.ca.SetIntercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, path) {
			return false
		}
		h.asked <- r
		select {
		case <-gate:
			return false
		case <-r.Context().Done():
			return true
		}
	})
	return h
}

// await waits for a request that is held.
func (h held) await(t *testing.T) *http.Request {
	t.Helper()
	select {
	case r := <-h.asked:
		return r
	case <-time.After(patience):
		t.Fatal("the authority is not asked")
		return nil
	}
}

// What is said of a certificate while it is ordered, when it is there, and when the
// authority refuses; and how to get or revoke one by hand.
func TestACMECommands(t *testing.T) {
	t.Parallel()
	s := newSigning(t, reachable{tls: true}, pebbletest.Options{})
	own := newAuthority(t)
	s.put("secret.yaml", own.issue("own.test").secret("own"))
	s.put("gateway.yaml", secured("", simple("own", "own.test"), automatic("auto.test")))
	orders := s.hold("/order-plz")
	s.launch("--log-level", "debug").settled()
	orders.await(t)
	if doc := s.certificates()["auto.test"]; doc.State != "pending" || doc.Source != "acme" || doc.NotAfter != nil {
		t.Errorf("while it is ordered it is %+v", doc)
	}
	s.problem("CertificatePending", "gateway.yaml", "auto.test", "sluice certificates")
	s.closed("auto.test")
	s.visits(visit{name: "nobody else waits", caller: caller{sni: "own.test", trust: own}})
	if value := s.metric(`sluice_certificate_expiry_seconds{host="auto.test"}`); value != "" {
		t.Errorf("there is no certificate, but it expires at %s", value)
	}
	orders.let()
	first := s.signed("auto.test")
	s.flawless()
	doc := s.certificates()["auto.test"]
	if doc.State != "valid" || doc.Issuer != s.ca.Directory || doc.NotAfter == nil || doc.Renewal == nil || !doc.Renewal.Before(*doc.NotAfter) || doc.Error != "" {
		t.Errorf("it is %+v", doc)
	}
	s.shown(own)

	before := s.certificate("auto.test")
	s.succeeds("auto.test: done", "certificates", "renew", "auto.test")
	second := s.renewed("auto.test", first)
	if s.ca.Revoked(t, before) {
		t.Error("what was renewed is revoked")
	}
	before = s.certificate("auto.test")
	s.succeeds("auto.test: done", "certificates", "revoke", "auto.test")
	third := s.renewed("auto.test", second)
	if !s.ca.Revoked(t, before) || s.ca.Revoked(t, s.certificate("auto.test")) {
		t.Error("not the old one is revoked")
	}
	s.ca.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/order-plz" {
			pebbletest.Problem{Status: http.StatusForbidden, Kind: "rejectedIdentifier", Detail: "we do not like this name"}.Write(w)
		}
		return r.URL.Path == "/order-plz"
	})
	s.fails("we do not like this name", "certificates", "renew", "auto.test")
	doc = s.certificates()["auto.test"]
	if doc.State != "failing" || doc.NextTry == nil || !strings.Contains(doc.Error, "rejectedIdentifier: we do not like this name") {
		t.Errorf("it is %+v", doc)
	}
	if _, table := s.sluice("certificates"); !containsAll(table, []string{"failing", "we do not like this name"}) {
		t.Errorf("the table is\n%s", table)
	}
	if _, table := s.sluice("status"); !containsAll(table, []string{"certificate of auto.test", "we do not like this name", "next try in"}) {
		t.Errorf("the status is\n%s", table)
	}
	if now := s.serial("auto.test"); now.Cmp(third) != 0 {
		t.Errorf("it is answered with %v, not %v as before", now, third)
	}
	s.fails("own.test", "certificates", "renew", "own.test")
	s.fails("nobody.test", "certificates", "revoke", "nobody.test")
	s.fails("name one host", "certificates", "renew")
	s.fails("unknown command", "certificates", "remove", "auto.test")
	// A certificate that was signed just now, of the authority or in a Secret, is
	// not held against an older time.
	s.put("secret.yaml", own.sign(order{names: []string{"own.test"}, from: time.Now(), until: time.Now().Add(time.Hour)}).secret("own"))
	s.wait()
	if log := s.log.String(); strings.Contains(log, "CertificateNotYet") {
		t.Error("a new certificate is said not to be valid yet")
	}
	s.keepsKeys()
}

// shown checks what `sluice certificates` prints for people and in YAML, and the
// metric beside it.
func (s *signing) shown(own *authority) {
	s.t.Helper()
	doc := s.certificates()["auto.test"]
	code, table := s.sluice("certificates")
	for _, want := range [][]string{
		{"HOST", "STATE", "ISSUER", "EXPIRES", "RENEWAL", "FROM"},
		{"auto.test", "valid", s.ca.Directory, "in 89d", "in 5", "acme"},
		{"own.test", "valid", own.cert.Subject.CommonName, "in ", "default/own"},
	} {
		found := false
		for line := range strings.Lines(table) {
			found = found || containsAll(line, want)
		}
		if !found || code != 0 {
			s.t.Errorf("exit %d, no line with %q in\n%s", code, want, table)
		}
	}
	if code, text := s.sluice("certificates", "-o", "yaml"); code != 0 || !strings.Contains(text, "host: auto.test\n") {
		s.t.Errorf("exit %d: %s", code, text)
	}
	want := itoa(int(doc.NotAfter.Unix()))
	if got := seconds(s.t, s.metric(`sluice_certificate_expiry_seconds{host="auto.test"}`)); got != want {
		s.t.Errorf("the metric says %s, the command %s", got, want)
	}
}

// keepsKeys expects that no key of a certificate or an account is in anything that
// is said.
func (s *signing) keepsKeys() {
	s.t.Helper()
	texts := map[string]string{"log": s.log.String()}
	for _, path := range []string{"/status", "/config", "/metrics", "/certificates", "/proxy/config_dump", "/proxy/certs"} {
		_, body, err := fetch("http://"+s.admin+path, "")
		if err != nil {
			s.t.Fatal(err)
		}
		texts[path] = body
	}
	forbidden := keyMarkers()
	keys := 0
	err := filepath.WalkDir(s.data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".key" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			s.t.Errorf("%s is open to others: %v", path, err)
		}
		forbidden = append(forbidden, traces(s.t, leaf{keyPEM: string(text)})...)
		keys++
		return nil
	})
	if err != nil || keys < 2 {
		s.t.Fatalf("%d keys are stored: %v", keys, err)
	}
	for name, text := range texts {
		for _, trace := range forbidden {
			if strings.Contains(text, trace) {
				s.t.Errorf("%s has %q", name, trace)
			}
		}
	}
}

// succeeds runs a command that prints a text.
func (w *world) succeeds(text string, args ...string) {
	w.t.Helper()
	if code, out := w.sluice(args...); code != 0 || !strings.Contains(out, text) {
		w.t.Errorf("sluice %s: exit %d: %s", strings.Join(args, " "), code, out)
	}
}

// fails runs a command that cannot do what it should and says why.
func (w *world) fails(why string, args ...string) {
	w.t.Helper()
	if code, out := w.sluice(args...); code == 0 || !strings.Contains(out, why) {
		w.t.Errorf("sluice %s: exit %d: %s, want %q", strings.Join(args, " "), code, out, why)
	}
}

// Flags that cannot mean anything end the program before it starts, and say why
// without a word of a secret.
func TestACMEFlags(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const secret = "c2VjcmV0+"
	for _, c := range []struct{ flag, value, says string }{
		{"email", "you", "no address"},
		{"email", "You <you@example.org>", "no address"},
		{"directory", "banana", "letsencrypt-staging"},
		{"directory", "https://ca.test/dir#profil=short", `"profil"`},
		{"directory", "https://ca.test/dir#eab=" + secret, "KEYID:HMAC"},
		{"directory", "https://ca.test/dir#eab=:" + secret, "KEYID:HMAC"},
		{"directory", "https://ca.test/dir#roots=/nowhere", "/nowhere"},
		{"directory", "letsencrypt,letsencrypt", "twice"},
		{"dns", "banana", `"banana"`},
		{"dns", "ftp://ns.test", `"ftp"`},
		{"dns", "exec:", "program is missing"},
		{"dns", "exec:/bin/true?propagatoin=1s", `"propagatoin"`},
		{"dns", "https://hook.test/?propagation=soon", `"soon"`},
		{"dns", "rfc2136://?key=a&secret=c2VjcmV0", "name server is missing"},
		{"dns", "rfc2136://ns.test?key=a", "go together"},
		{"dns", "rfc2136://ns.test?key=a&secret=" + secret, "%2B"},
		{"dns", "rfc2136://ns.test?key=a&secret=%zz" + secret, "cannot be read"},
		{"dns", "rfc2136://ns.test:x?key=a&secret=" + secret, "no URL"},
		{"dns", "rfc2136://ns.test?key=a&secret=c2VjcmV0&algorithm=md5", `"md5"`},
		{"dns", "rfc2136://ns.test?kye=a", `"kye"`},
	} {
		cmd := exec.Command(binary(), w.args("--acme-"+c.flag, c.value)...)
		out, err := cmd.CombinedOutput()
		if text := string(out); err == nil || !strings.Contains(text, c.says) || strings.Contains(text, "c2VjcmV0") {
			t.Errorf("--acme-%s %q: %v, want %q: %s", c.flag, c.value, err, c.says, out)
		}
	}
}
