package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// bounded bounds what a client speaks.
func bounded(low, high uint16) func(*tls.Config) {
	return func(c *tls.Config) { c.MinVersion, c.MaxVersion = low, high }
}

// suites are all that a client of TLS 1.2 offers.
func suites(list ...uint16) func(*tls.Config) {
	return func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, list }
}

// curves are all that a client offers.
func curves(list ...tls.CurveID) func(*tls.Config) {
	return func(c *tls.Config) { c.CurvePreferences = list }
}

// agreed checks what a handshake agreed on.
func agreed(what string, is func(*tls.ConnectionState) bool) func(echo) error {
	return func(a echo) error {
		if !is(a.tls) {
			return fmt.Errorf("%s is not agreed on, but %s %s %v", what, tls.VersionName(a.tls.Version), tls.CipherSuiteName(a.tls.CipherSuite), a.tls.CurveID)
		}
		return nil
	}
}

// handshakes is a world whose hosts differ in what they agree to.
func handshakes(t *testing.T) (*world, *authority) {
	t.Helper()
	ca := newAuthority(t)
	both := []string{"both.test"}
	files := map[string]string{
		"routes.yaml":  everywhere(newOrigin(t, "o")),
		"secrets.yaml": ca.issue("ecdsa", "default.test", "*.test").secret("ecdsa") + "---\n" + ca.sign(order{names: []string{"rsa", "*.test"}, rsa: true}).secret("rsa"),
	}
	servers := []string{simple("ecdsa", "default.test"), simple("rsa", "rsa.test"), https("mode: SIMPLE, credentialNames: [rsa, ecdsa]", both...)}
	for name, fields := range map[string]string{
		"min13": "minProtocolVersion: TLSV1_3", "max12": "maxProtocolVersion: TLSV1_2",
		"old":   "minProtocolVersion: TLSV1_0, maxProtocolVersion: TLSV1_2",
		"only":  "minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_2",
		"suite": "cipherSuites: [ECDHE-ECDSA-AES256-GCM-SHA384]",
		"typo":  "cipherSuites: [ECDHE-ECDSA-AES128-GCM-SHA265, ECDHE-ECDSA-CHACHA20-POLY1305]",
	} {
		servers = append(servers, https("mode: SIMPLE, credentialName: ecdsa, "+fields, name+".test"))
	}
	files["gateway.yaml"] = secured("", servers...)
	w := newWorld(t, files).run().settled()
	w.problem("InvalidValue", "cipherSuites[0]", "SHA265")
	w.problem("InvalidValue", "minProtocolVersion", "1.0")
	w.unexpectedProblems("InvalidValue")
	return w, ca
}

// atVersion checks which version was agreed on.
func atVersion(v uint16) func(echo) error {
	return agreed(tls.VersionName(v), func(s *tls.ConnectionState) bool { return s.Version == v })
}

// checkVersions holds what each host agrees to against its bounds.
func (w *world) checkVersions(ca *authority) {
	w.t.Helper()
	for _, v := range []struct {
		host      string
		low, high uint16
		agreed    uint16 // 0: none
	}{
		{"default", 0, tls.VersionTLS13, tls.VersionTLS13},
		{"default", 0, tls.VersionTLS12, tls.VersionTLS12},
		{"default", tls.VersionTLS10, tls.VersionTLS11, 0},
		{"rsa", tls.VersionTLS10, tls.VersionTLS11, 0},
		{"min13", 0, tls.VersionTLS13, tls.VersionTLS13},
		{"min13", 0, tls.VersionTLS12, 0},
		{"max12", 0, tls.VersionTLS13, tls.VersionTLS12},
		{"max12", tls.VersionTLS13, tls.VersionTLS13, 0},
		{"old", tls.VersionTLS10, tls.VersionTLS10, tls.VersionTLS10},
		{"old", tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS11},
		{"old", tls.VersionTLS10, tls.VersionTLS13, tls.VersionTLS12},
		{"only", tls.VersionTLS10, tls.VersionTLS11, 0},
		{"only", tls.VersionTLS12, tls.VersionTLS13, tls.VersionTLS12},
	} {
		wish := visit{name: fmt.Sprintf("%s with %s", v.host, tls.VersionName(v.high)), caller: caller{sni: v.host + ".test", trust: ca, tune: bounded(v.low, v.high)}, code: refused}
		if v.agreed != 0 {
			wish.code, wish.check = 0, atVersion(v.agreed)
		}
		w.visits(wish)
	}
}

// Versions, cipher suites, key shares, kinds of keys and protocols inside.
func TestTLSHandshakes(t *testing.T) {
	t.Parallel()
	w, ca := handshakes(t)
	at := func(name string, tune func(*tls.Config)) caller {
		return caller{sni: name + ".test", trust: ca, tune: tune}
	}
	w.checkVersions(ca)
	suite := func(id uint16) func(echo) error {
		return agreed(tls.CipherSuiteName(id), func(s *tls.ConnectionState) bool { return s.CipherSuite == id })
	}
	const (
		aes128, aes256  = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
		chacha, rsaSafe = tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
		cbc, static     = tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256
	)
	w.visits(
		visit{name: "a suite of the list", caller: at("suite", suites(aes256)), check: suite(aes256)},
		visit{name: "a suite outside the list", caller: at("suite", suites(aes128)), code: refused},
		visit{name: "TLS 1.3 brings its own suites", caller: at("suite", nil), check: atVersion(tls.VersionTLS13)},
		visit{name: "the rest of a list with a typing error", caller: at("typo", suites(chacha)), check: suite(chacha)},
		visit{name: "the typing error", caller: at("typo", suites(aes128)), code: refused},
		visit{name: "ChaCha20 where the client prefers it", caller: at("default", suites(chacha)), check: suite(chacha)},
		visit{name: "no CBC by default", caller: at("default", suites(cbc)), code: refused},
		visit{name: "no RSA key exchange by default", caller: at("rsa", suites(static)), code: refused},
		visit{name: "RSA client of an RSA key", caller: at("rsa", suites(rsaSafe)), shown: "rsa", check: suite(rsaSafe)},
		visit{name: "ECDSA client of two keys", caller: at("both", suites(aes128)), shown: "ecdsa", check: suite(aes128)},
		visit{name: "any client of two keys", caller: at("both", nil)},
		visit{name: "RSA client of an ECDSA key", caller: at("default", suites(rsaSafe)), code: refused},
	)
	for _, id := range []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256} {
		w.visits(visit{name: "only " + id.String(), caller: at("default", curves(id)), check: agreed(id.String(), func(s *tls.ConnectionState) bool { return s.CurveID == id })})
	}
	w.visits(
		visit{name: "the hybrid key share comes first", caller: at("default", nil), check: agreed("X25519MLKEM768", func(s *tls.ConnectionState) bool { return s.CurveID == tls.X25519MLKEM768 })},
		visit{name: "a curve that is not offered", caller: at("default", curves(tls.CurveP521)), code: refused},
	)
	alpn := func(name string) func(echo) error {
		return agreed(name, func(s *tls.ConnectionState) bool { return s.NegotiatedProtocol == name })
	}
	w.visits(
		visit{name: "HTTP/2 by ALPN", caller: at("default", nil), check: alpn("h2")},
		visit{name: "HTTP/1.1 by ALPN", caller: caller{sni: "default.test", trust: ca, h1: true}, check: alpn("http/1.1")},
	)
	sclient(t, w, ca)
}

// The same with `openssl s_client`: another library, and what Go's offers no
// words for.
func sclient(t *testing.T, w *world, ca *authority) {
	t.Helper()
	for _, c := range []struct {
		name, args string
		says       string // "" is a handshake that fails
	}{
		{"default", "-servername default.test -verify_hostname default.test", "New, TLSv1.3, Cipher is TLS_"},
		{"TLS 1.2", "-servername default.test -tls1_2", "New, TLSv1.2, Cipher is ECDHE-ECDSA-"},
		{"TLS 1.1", "-servername default.test -tls1_1 -cipher DEFAULT@SECLEVEL=0", ""},
		{"TLS 1.0", "-servername default.test -tls1 -cipher DEFAULT@SECLEVEL=0", ""},
		{"TLS 1.0 where it is asked for", "-servername old.test -tls1 -cipher DEFAULT@SECLEVEL=0", "New, TLSv1.0, Cipher is ECDHE-ECDSA-"},
		{"ALPN", "-servername default.test -alpn h2,http/1.1", "ALPN protocol: h2"},
		{"ALPN of the client's order", "-servername default.test -alpn http/1.1,h2", "ALPN protocol: h2"},
		{"old ALPN", "-servername default.test -alpn http/1.1", "ALPN protocol: http/1.1"},
		{"unknown ALPN", "-servername default.test -alpn spdy/3", "No ALPN negotiated"},
		{"TLS 1.2 with RSA suites", "-servername both.test -tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256", "subject=CN = rsa"},
		{"TLS 1.2 with ECDSA suites", "-servername both.test -tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", "subject=CN = ecdsa"},
		{"TLS 1.3 with RSA signatures", "-servername both.test -sigalgs rsa_pss_rsae_sha256", "subject=CN = rsa"},
		{"TLS 1.3 with ECDSA signatures", "-servername both.test -sigalgs ecdsa_secp256r1_sha256", "subject=CN = ecdsa"},
		{"SHA-1 signatures", "-servername default.test -tls1_2 -sigalgs ECDSA+SHA1 -cipher DEFAULT@SECLEVEL=0", ""},
		{"SHA-1 signatures of RSA", "-servername rsa.test -tls1_2 -sigalgs RSA+SHA1 -cipher DEFAULT@SECLEVEL=0", ""},
		{"finite field Diffie-Hellman", "-servername rsa.test -tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256", ""},
		{"anonymous", "-servername rsa.test -tls1_2 -cipher aNULL@SECLEVEL=0", ""},
		{"no name", "-noservername", ""},
		{"unknown name", "-servername nobody.example", ""},
	} {
		t.Run("openssl "+c.name, func(t *testing.T) {
			args := append([]string{"s_client", "-connect", fmt.Sprintf("127.0.0.1:%d", w.port), "-CAfile", ca.file, "-verify_return_error"}, strings.Fields(c.args)...)
			cmd := exec.Command("openssl", args...)
			cmd.Stdin = bytes.NewReader(nil)
			out, err := cmd.CombinedOutput()
			switch {
			case c.says == "" && err == nil:
				t.Errorf("the handshake ends well:\n%s", out)
			case c.says != "" && (err != nil || !strings.Contains(string(out), c.says)):
				t.Errorf("%v, want %q:\n%s", err, c.says, out)
			}
		})
	}
}
