package gateway_test

import (
	"bytes"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
)

// TestTLSClients asks hosts of every mode with certificates of every kind.
func TestTLSClients(t *testing.T) {
	p := newPorts(t)
	p.certificate("cert", ecdsaKey(t), "*.foo.com")
	good := p.authority.issue(ecdsaKey(t), "client.foo.com", "spiffe://foo/client")
	other := p.authority.issue(rsaKey(t), "other.foo.com")
	foreign := newAuthority(t).issue(ecdsaKey(t), "client.foo.com")
	pinned := func(change func(*model.ServerTLS)) func(*model.ServerTLS) {
		return func(t *model.ServerTLS) { t.Mode = model.ServerTLSMutual; change(t) }
	}
	in := gateway.StreamInput{Bind: model.Bind{Address: "127.0.0.1"}, Tickets: true, TLS: []gateway.TLSHost{
		secure("dns.foo.com", mutual("client.foo.com", "10.0.0.1")),
		secure("hash.foo.com", pinned(func(t *model.ServerTLS) { t.Hashes = []string{digest(good)} })),
		secure("mutual.foo.com", mutual()),
		secure("optional.foo.com", func(t *model.ServerTLS) { t.Mode = model.ServerTLSOptionalMutual }),
		secure("pin-only.foo.com", pinned(func(t *model.ServerTLS) { t.SPKI, t.InsecureSkipVerify = []string{spki(foreign)}, true })),
		secure("simple.foo.com", nil),
		secure("skip.foo.com", pinned(func(t *model.ServerTLS) { t.InsecureSkipVerify = true })),
		secure("skip-ca.foo.com", pinned(func(t *model.ServerTLS) { t.InsecureSkipVerify = true })),
		secure("spki.foo.com", pinned(func(t *model.ServerTLS) { t.SPKI = []string{spki(good)} })),
		secure("unguarded.foo.com", pinned(func(t *model.ServerTLS) { t.SubjectAltNames, t.InsecureSkipVerify = []string{"a"}, true })),
		secure("uri.foo.com", mutual("spiffe://foo/client")),
	}}
	for i := range in.TLS {
		switch h := &in.TLS[i]; h.Host {
		case "pin-only.foo.com":
			h.Server.TLS.InsecureSkipVerify = false // pins alone, no authorities
		case "skip-ca.foo.com":
			h.Authorities = "ca"
		}
	}
	p.table("t", false, routeTo("*.foo.com", "/"))
	p.listenTLS(1, in) // unguarded.foo.com
	address := p.start()["127.0.0.1_0"]

	const none, mine, others, strangers = "none", "good", "other", "foreign"
	shown := map[string][]stdtls.Certificate{none: nil, mine: {good}, others: {other}, strangers: {foreign}}
	for host, welcome := range map[string][]string{
		"simple.foo.com":    {none, mine, others, strangers},
		"optional.foo.com":  {none, mine, others},
		"mutual.foo.com":    {mine, others},
		"dns.foo.com":       {mine},
		"uri.foo.com":       {mine},
		"spki.foo.com":      {mine},
		"hash.foo.com":      {mine},
		"pin-only.foo.com":  {strangers},
		"skip-ca.foo.com":   {mine, others, strangers},
		"skip.foo.com":      {mine, others, strangers},
		"unguarded.foo.com": nil,
	} {
		for name, certificates := range shown {
			t.Run(host+"/"+name, func(t *testing.T) {
				config := p.authority.trusting(host)
				config.GetClientCertificate = func(*stdtls.CertificateRequestInfo) (*stdtls.Certificate, error) {
					if len(certificates) == 0 {
						return &stdtls.Certificate{}, nil
					}
					return &certificates[0], nil
				}
				got, err := ask(t, client(t, address, config, true), host)
				want := false
				for _, w := range welcome {
					want = want || w == name
				}
				if (err == nil) != want || want && got.status != http.StatusOK {
					t.Fatalf("status %d, error %v; want welcome %v", got.status, err, want)
				}
				checkIdentity(t, got, host, name)
			})
		}
	}
}

// checkIdentity demands that the destination hears of the certificate exactly
// where the host asks for one.
func checkIdentity(t *testing.T, got reply, host, shown string) {
	t.Helper()
	if got.status != http.StatusOK {
		return
	}
	if proto := got.seen.Header.Get("X-Forwarded-Proto"); proto != "https" {
		t.Errorf("the destination saw x-forwarded-proto %q", proto)
	}
	identity := got.seen.Header.Get("X-Forwarded-Client-Cert")
	if (identity != "") != (shown != "none" && host != "simple.foo.com") {
		t.Errorf("the destination heard of the client %q", identity)
	}
	if shown == "good" && identity != "" {
		for _, part := range []string{"Subject=", "Cert=", "DNS=client.foo.com", "URI=spiffe://foo/client"} {
			if !strings.Contains(identity, part) {
				t.Errorf("identity %q lacks %q", identity, part)
			}
		}
	}
}

// TestTLSForgedIdentity sends what only Sluice may say.
func TestTLSForgedIdentity(t *testing.T) {
	p := newPorts(t)
	p.certificate("cert", ecdsaKey(t), "*.foo.com")
	p.table("t", false, routeTo("*.foo.com", "/"))
	p.listenTLS(0, gateway.StreamInput{Bind: model.Bind{Address: "127.0.0.1"}, TLS: []gateway.TLSHost{
		secure("a.foo.com", nil),
		secure("b.foo.com", func(t *model.ServerTLS) { t.Mode = model.ServerTLSOptionalMutual }),
	}})
	address := p.start()["127.0.0.1_0"]
	for _, host := range []string{"a.foo.com", "b.foo.com"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Forwarded-Client-Cert", "Subject=root")
		request.Header.Set("X-Forwarded-Proto", "http")
		response, err := client(t, address, p.authority.trusting(host), false).RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		got := readReply(t, response)
		if got.status != http.StatusOK || got.seen.Header.Get("X-Forwarded-Client-Cert") != "" || got.seen.Header.Get("X-Forwarded-Proto") != "https" {
			t.Errorf("%s: status %d, the destination saw %v", host, got.status, got.seen.Header)
		}
	}
}

// TestTLSParameters shakes hands at the edges of versions, suites and curves.
func TestTLSParameters(t *testing.T) {
	p := newPorts(t)
	p.certificate("cert", ecdsaKey(t), "*.foo.com")
	p.certificate("rsa", rsaKey(t), "*.foo.com")
	both := secure("both.foo.com", nil)
	both.Certificates = []string{"rsa", "cert"}
	in := gateway.StreamInput{Bind: model.Bind{Address: "127.0.0.1"}, TLS: []gateway.TLSHost{
		both,
		secure("default.foo.com", nil),
		secure("modern.foo.com", func(t *model.ServerTLS) { t.MinVersion = model.TLS13 }),
		secure("old.foo.com", func(t *model.ServerTLS) { t.MinVersion, t.MaxVersion = model.TLS10, model.TLS12 }),
		secure("oldest.foo.com", func(t *model.ServerTLS) { t.MaxVersion = model.TLS11 }),
		secure("suite.foo.com", func(t *model.ServerTLS) { t.CipherSuites = []string{"ECDHE-ECDSA-AES256-GCM-SHA384"} }),
	}}
	p.table("t", false, routeTo("*.foo.com", "/"))
	p.listenTLS(0, in)
	address := p.start()["127.0.0.1_0"]
	only := func(v uint16) func(*stdtls.Config) {
		return func(c *stdtls.Config) { c.MinVersion, c.MaxVersion = v, v }
	}
	suite := func(ids ...uint16) func(*stdtls.Config) {
		return func(c *stdtls.Config) { c.MaxVersion, c.CipherSuites = stdtls.VersionTLS12, ids }
	}
	for _, c := range []struct {
		name, sni string
		change    func(*stdtls.Config)
		want      string // what was agreed; "" for a refusal
	}{
		{"newest", "default.foo.com", only(stdtls.VersionTLS13), "TLS 1.3 ECDSA X25519MLKEM768"},
		{"1.2", "default.foo.com", only(stdtls.VersionTLS12), "TLS 1.2 ECDSA X25519"},
		{"1.1", "default.foo.com", only(stdtls.VersionTLS11), ""},
		{"1.2 at modern", "modern.foo.com", only(stdtls.VersionTLS12), ""},
		{"1.3 at modern", "modern.foo.com", only(stdtls.VersionTLS13), "TLS 1.3 ECDSA X25519MLKEM768"},
		{"1.0 at old", "old.foo.com", only(stdtls.VersionTLS10), "TLS 1.0 ECDSA X25519"},
		{"1.3 at old", "old.foo.com", only(stdtls.VersionTLS13), ""},
		{"1.1 at oldest", "oldest.foo.com", only(stdtls.VersionTLS11), "TLS 1.1 ECDSA X25519"},
		{"1.0 at oldest", "oldest.foo.com", only(stdtls.VersionTLS10), ""},
		{"post-quantum only", "default.foo.com", func(c *stdtls.Config) { c.CurvePreferences = []stdtls.CurveID{stdtls.X25519MLKEM768} }, "TLS 1.3 ECDSA X25519MLKEM768"},
		{"P-256 only", "default.foo.com", func(c *stdtls.Config) { c.CurvePreferences = []stdtls.CurveID{stdtls.CurveP256} }, "TLS 1.3 ECDSA CurveP256"},
		{"P-384 only", "default.foo.com", func(c *stdtls.Config) { c.CurvePreferences = []stdtls.CurveID{stdtls.CurveP384} }, ""},
		{"CBC", "default.foo.com", suite(stdtls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA), ""},
		{"ChaCha20", "default.foo.com", suite(stdtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256), "TLS 1.2 ECDSA X25519"},
		{"chosen suite", "suite.foo.com", suite(stdtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384), "TLS 1.2 ECDSA X25519"},
		{"other suite", "suite.foo.com", suite(stdtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), ""},
		{"pair, ECDSA client", "both.foo.com", suite(stdtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), "TLS 1.2 ECDSA X25519"},
		{"pair, any client", "both.foo.com", nil, "TLS 1.3 ECDSA X25519MLKEM768"},
		{"single, RSA client", "default.foo.com", suite(stdtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := p.authority.trusting(c.sni)
			if c.change != nil {
				c.change(config)
			}
			conn := stdtls.Client(dialFrom(t, "", address), config)
			err := conn.Handshake()
			if err != nil {
				if c.want != "" {
					t.Error(err)
				}
				return
			}
			state := conn.ConnectionState()
			got := fmt.Sprintf("%s %s %s", stdtls.VersionName(state.Version), state.PeerCertificates[0].PublicKeyAlgorithm, state.CurveID)
			if got != c.want {
				t.Errorf("agreed on %s, want %q", got, c.want)
			}
		})
	}
}

// TestTLSPair has a client that knows RSA only reach a host with a pair of
// certificates. Envoy takes it for one by its suites if it is old enough to send no
// list of versions, which Go's client always does: it is cut out on the way.
func TestTLSPair(t *testing.T) {
	p := newPorts(t)
	p.certificate("cert", ecdsaKey(t), "*.foo.com")
	p.certificate("rsa", rsaKey(t), "*.foo.com")
	p.table("t", false, routeTo("*.foo.com", "/"))
	both := secure("both.foo.com", nil)
	both.Certificates = []string{"cert", "rsa"}
	p.listenTLS(0, gateway.StreamInput{Bind: model.Bind{Address: "127.0.0.1"}, TLS: []gateway.TLSHost{both}})
	address := p.start()["127.0.0.1_0"]
	for suite, want := range map[uint16]x509.PublicKeyAlgorithm{
		stdtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:   x509.RSA,
		stdtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: x509.ECDSA,
	} {
		got := x509.UnknownPublicKeyAlgorithm
		config := p.authority.trusting("both.foo.com")
		config.MaxVersion, config.CipherSuites = stdtls.VersionTLS12, []uint16{suite}
		config.VerifyPeerCertificate = func(_ [][]byte, chains [][]*x509.Certificate) error {
			got = chains[0][0].PublicKeyAlgorithm
			return nil
		}
		// The two ends have seen different hellos, so it fails in the end.
		_ = stdtls.Client(&withoutVersions{Conn: dialFrom(t, "", address)}, config).Handshake()
		if got != want {
			t.Errorf("suite %s: certificate of %s, want %s", stdtls.CipherSuiteName(suite), got, want)
		}
	}
}

// withoutVersions cuts the extension supported_versions out of the ClientHello.
type withoutVersions struct {
	net.Conn
	sent bool
}

func (c *withoutVersions) Write(b []byte) (int, error) {
	if c.sent {
		return c.Conn.Write(b)
	}
	c.sent = true
	const extension = "\x00\x2b\x00\x03\x02\x03\x03" // TLS 1.2 alone
	hello := bytes.Replace(b, []byte(extension), nil, 1)
	if len(hello) == len(b) {
		return 0, errors.New("the hello lists other versions than TLS 1.2")
	}
	cut := uint16(len(b) - len(hello))
	for _, at := range []int{3, 7, extensionsAt(hello)} { // lengths of the record, the hello, its extensions
		binary.BigEndian.PutUint16(hello[at:], binary.BigEndian.Uint16(hello[at:])-cut)
	}
	if _, err := c.Conn.Write(hello); err != nil {
		return 0, err
	}
	return len(b), nil
}

// extensionsAt returns where the length of the extensions stands in a record with
// a ClientHello: behind versions, random, session, suites and compression (RFC 5246
// section 7.4.1.2).
func extensionsAt(hello []byte) int {
	at := 5 + 4 + 2 + 32
	at += 1 + int(hello[at])
	at += 2 + int(binary.BigEndian.Uint16(hello[at:]))
	return at + 1 + int(hello[at])
}

// TestTLSResumption resumes sessions at hosts that ask for more than the one
// where the session began. All of them show the same certificate.
func TestTLSResumption(t *testing.T) {
	p := newPorts(t)
	p.certificate("cert", ecdsaKey(t), "*.foo.com")
	optional := func(t *model.ServerTLS) { t.Mode = model.ServerTLSOptionalMutual }
	p.table("t", false, routeTo("*.foo.com", "/"))
	p.listenTLS(0, gateway.StreamInput{Bind: model.Bind{Address: "127.0.0.1"}, Tickets: true, TLS: []gateway.TLSHost{
		secure("a.foo.com", nil), secure("b.foo.com", nil), secure("mutual.foo.com", mutual()), secure("optional.foo.com", optional),
	}})
	p.listenTLS(0, gateway.StreamInput{Bind: model.Bind{Address: "127.0.0.2"}, Tickets: true, TLS: []gateway.TLSHost{
		secure("a.foo.com", nil), secure("optional.foo.com", mutual()),
	}})
	open := p.start()
	address := map[string]string{}
	for host := range map[string]bool{"a.foo.com": true, "b.foo.com": true, "mutual.foo.com": true, "optional.foo.com": true} {
		address[host] = open["127.0.0.1_0"]
	}
	address["again a.foo.com"] = open["127.0.0.2_0"]
	address["again optional.foo.com"] = open["127.0.0.2_0"]
	for _, version := range []uint16{stdtls.VersionTLS12, stdtls.VersionTLS13} {
		for _, c := range []struct {
			from, to        string
			served, resumed bool
		}{
			{"a.foo.com", "a.foo.com", true, true},
			{"a.foo.com", "b.foo.com", true, false}, // Envoy ties a session to the server names of its chain
			{"a.foo.com", "mutual.foo.com", false, false},
			{"optional.foo.com", "mutual.foo.com", false, false},
			{"a.foo.com", "again a.foo.com", true, true},
			{"optional.foo.com", "again optional.foo.com", false, false},
			{"optional.foo.com", "optional.foo.com", true, true},
		} {
			t.Run(stdtls.VersionName(version)+"/"+c.from+" "+c.to, func(t *testing.T) {
				sessions := oneSession{stdtls.NewLRUClientSessionCache(1)}
				dial := func(at string) (reply, bool, error) {
					sni := strings.TrimPrefix(at, "again ")
					config := p.authority.trusting(sni)
					config.MinVersion, config.MaxVersion, config.ClientSessionCache = version, version, sessions
					resumed := false
					config.VerifyConnection = func(s stdtls.ConnectionState) error { resumed = s.DidResume; return nil }
					got, err := ask(t, client(t, address[at], config, false), sni)
					return got, resumed, err
				}
				if _, _, err := dial(c.from); err != nil {
					t.Fatal(err)
				}
				got, resumed, err := dial(c.to)
				if (err == nil && got.status == http.StatusOK) != c.served || c.served && resumed != c.resumed {
					t.Errorf("status %d, resumed %v, error %v", got.status, resumed, err)
				}
			})
		}
	}
}

// oneSession offers the session of any host to every other.
type oneSession struct{ stdtls.ClientSessionCache }

func (o oneSession) Get(string) (*stdtls.ClientSessionState, bool) {
	return o.ClientSessionCache.Get("")
}
func (o oneSession) Put(_ string, s *stdtls.ClientSessionState) { o.ClientSessionCache.Put("", s) }
