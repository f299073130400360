package e2e

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// caller is a client of TLS.
type caller struct {
	sni   string     // "" sends none
	show  *leaf      // the certificate that it has, if any
	trust *authority // nil takes any certificate
	h1    bool       // offers HTTP/1.1 only, and not HTTP/2 before it
	tune  func(*tls.Config)
}

func (c caller) config() *tls.Config {
	out := &tls.Config{ServerName: c.sni, InsecureSkipVerify: c.trust == nil}
	if c.trust != nil {
		out.RootCAs = c.trust.pool()
	}
	if c.h1 {
		out.NextProtos = []string{"http/1.1"}
	}
	if c.show != nil {
		// Whatever authorities the server names, this one is shown.
		out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.show.Certificate, nil }
	}
	if c.tune != nil {
		c.tune(out)
	}
	return out
}

// session is one connection that stays open.
type session struct {
	conn *http.ClientConn
	sni  string
}

// open opens a connection.
func (w *world) open(c caller) (*session, error) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(!c.h1)
	transport := &http.Transport{
		DisableCompression: true, Protocols: protocols, TLSClientConfig: c.config(),
		DialContext: (&net.Dialer{Timeout: patience}).DialContext,
	}
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	conn, err := transport.NewClientConn(ctx, "https", fmt.Sprintf("127.0.0.1:%d", w.port))
	if err != nil {
		return nil, err
	}
	return &session{conn, c.sni}, nil
}

// mustOpen opens a connection that ends with the test.
func (w *world) mustOpen(c caller) *session {
	w.t.Helper()
	s, err := w.open(c)
	if err != nil {
		w.t.Fatalf("%+v: %v", c, err)
	}
	w.t.Cleanup(func() { s.conn.Close() })
	return s
}

// echo is a reply over TLS.
type echo struct {
	reply
	proto string
	tls   *tls.ConnectionState
}

// shown is the common name of the server's certificate.
func (a echo) shown() string { return a.tls.PeerCertificates[0].Subject.CommonName }

// said is the value of a header that an origin heard; "" if there was none.
func (a echo) said(key string) string {
	for line := range strings.Lines(a.body) {
		if value, ok := strings.CutPrefix(line, key+": "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// ask sends a request over the connection. Its host is by default the server
// name.
func (s *session) ask(q query) (out echo, err error) {
	if q.method == "" {
		q.method = http.MethodGet
	}
	if q.host == "" {
		q.host = s.sni
	}
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, q.method, "https://"+cmp.Or(s.sni, "nobody")+"/"+strings.TrimPrefix(q.path, "/"), nil)
	if err != nil {
		return out, err
	}
	req.Host = q.host
	for line := range strings.Lines(q.headers) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		req.Header.Add(key, value)
	}
	began := time.Now()
	resp, err := s.conn.RoundTrip(req)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return echo{reply{resp.StatusCode, resp.Header, resp.Trailer, string(b), time.Since(began)}, resp.Proto, resp.TLS}, err
}

// call asks over a connection of its own.
func (w *world) call(c caller, q query) (echo, error) {
	s, err := w.open(c)
	if err != nil {
		return echo{}, err
	}
	defer s.conn.Close()
	return s.ask(q)
}

// refused stands for a connection that is closed instead of an answer.
const refused = -1

// visit is what a client is answered over TLS.
type visit struct {
	name string
	caller
	query
	code  int    // 0 means 200
	body  string // a part of the body
	not   string // no part of the body
	shown string // common name of the server's certificate
	check func(echo) error
}

// fault tries the visit once.
func (v visit) fault(w *world) error {
	a, err := w.call(v.caller, v.query)
	var late net.Error
	switch {
	case errors.As(err, &late) && late.Timeout():
		return fmt.Errorf("the client waits in vain: %w", err)
	case v.code == refused && err == nil:
		return fmt.Errorf("it answers %d %q with the certificate of %s, want a closed connection", a.code, a.body, a.shown())
	case v.code == refused:
		return nil
	case err != nil:
		return err
	}
	if v.code == 0 {
		v.code = http.StatusOK
	}
	switch {
	case a.code != v.code, !strings.Contains(a.body, v.body), v.not != "" && strings.Contains(a.body, v.not):
		return fmt.Errorf("it answers %d %q, want %d with %q and not %q", a.code, a.body, v.code, v.body, v.not)
	case v.shown != "" && a.shown() != v.shown:
		return fmt.Errorf("it shows the certificate of %s, want %s", a.shown(), v.shown)
	case v.check != nil:
		return v.check(a)
	}
	return nil
}

// visits makes each visit once.
func (w *world) visits(list ...visit) {
	w.t.Helper()
	for _, v := range list {
		name := v.name
		if name == "" {
			name = v.sni + " " + v.host
		}
		w.t.Run(name, func(t *testing.T) {
			if err := v.fault(w.in(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// visited waits until a visit goes as it should.
func (w *world) visited(v visit) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s %s is answered so", v.sni, v.host), func() error { return v.fault(w) })
}

// poll makes a visit every 10 ms, in turn over a connection that stays and over
// a new one.
func (w *world) poll(v visit) *traffic {
	w.t.Helper()
	w.visited(v)
	kept := w.mustOpen(v.caller)
	ctx, stop := context.WithCancel(context.Background())
	tr := &traffic{t: w.t, what: v.sni, stop: stop}
	tr.poll(ctx, func(turn int) string {
		var err error
		if turn%2 == 1 {
			err = v.fault(w)
		} else if a, lost := kept.ask(v.query); lost != nil || a.code != http.StatusOK {
			err = fmt.Errorf("the open connection answers %d %q %w", a.code, a.body, lost)
		}
		if err != nil {
			return err.Error()
		}
		return ""
	})
	return tr
}

// The YAML that tests of TLS start from.

// secured is the gateway edge with servers, and more metadata.
func secured(metadata string, servers ...string) string {
	return strings.Replace(l4(metadata, servers...), "{name: l4", "{name: edge", 1)
}

// https is a server on the free port that ends TLS, with HTTP inside.
func https(tls string, hosts ...string) string { return ends("HTTPS", tls, hosts...) }

// ends is a server on the free port that ends TLS; its port is named after its
// first host.
func ends(protocol, tls string, hosts ...string) string {
	name := strings.NewReplacer(".", "-", "*", "any").Replace(hosts[0])
	return "  - {port: {number: $PORT, name: " + strings.ToLower(protocol) + "-" + name + ", protocol: " + protocol + "}, bind: 127.0.0.1, tls: {" + tls +
		"}, hosts: ['" + strings.Join(hosts, "', '") + "']}\n"
}

// simple is a server of mode SIMPLE whose Secret is named.
func simple(secret string, hosts ...string) string {
	return https("mode: SIMPLE, credentialName: "+secret, hosts...)
}

// everywhere sends the hosts of edge to one origin.
func everywhere(o *origin) string {
	return fleet("o.internal", []*origin{o}) + "---\n" + routes("all", "*", to("o.internal"))
}

// encoded is a Secret with its entries in base64, as Kubernetes prints it.
func encoded(name string, entries map[string]string) string {
	out := "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + "}\ntype: kubernetes.io/tls\ndata:\n"
	for key, value := range entries {
		out += "  " + key + ": " + base64.StdEncoding.EncodeToString([]byte(value)) + "\n"
	}
	return out
}

// inNamespace moves an object elsewhere.
func inNamespace(namespace, text string) string {
	return strings.Replace(text, "metadata: {", "metadata: {namespace: "+namespace+", ", 1)
}
