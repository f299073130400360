package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// lineVisit sends a line inside TLS; want "" expects a closed connection.
type lineVisit struct {
	name string
	caller
	want  string
	shown string
}

func (v lineVisit) fault(w *world) error {
	c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.port), v.config())
	if err == nil {
		defer c.Close()
		var got string
		if got, err = say(c, "hello"); err == nil && got != v.want+" hello" {
			return fmt.Errorf("it answers %q, want %q", got, v.want)
		}
	}
	switch {
	case v.want == "" && err != nil:
		return nil
	case err != nil:
		return err
	}
	if shown := c.ConnectionState().PeerCertificates[0].Subject.CommonName; v.shown != "" && shown != v.shown {
		return fmt.Errorf("it shows the certificate of %s, want %s", shown, v.shown)
	}
	return nil
}

func (w *world) lineVisits(list ...lineVisit) {
	w.t.Helper()
	for _, v := range list {
		w.t.Run(strings.TrimSpace(v.sni+" "+v.name), func(t *testing.T) {
			if err := v.fault(w.in(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// tcpRoute sends the bytes of a host to a service.
func tcpRoute(name, host, service string) string {
	return strings.Replace(streams(name, host, "  tcp:\n  - route: [{destination: {host: "+service+"}}]\n"), "[l4]", "[edge]", 1)
}

// passed sends the TLS of a host on as it is.
func passed(name, host, service string) string {
	return strings.Replace(streams(name, host, "  tls:\n  - match: [{sniHosts: ['"+host+"']}]\n    route: [{destination: {host: "+service+"}}]\n"), "[l4]", "[edge]", 1)
}

// Bytes and requests inside TLS, plain or encrypted anew towards destinations, and
// TLS that is passed through, all on one port.
func TestTLSInside(t *testing.T) {
	t.Parallel()
	ca, far := newAuthority(t), newAuthority(t)
	client := far.issue("client")
	plain := newLineServer(t, "plain", nil)
	wild := newLineServer(t, "wild", nil)
	secure := newLineServer(t, "secure", &tls.Config{Certificates: []tls.Certificate{far.issue("secure.internal").Certificate}})
	through := newLineServer(t, "through", &tls.Config{Certificates: []tls.Certificate{far.issue("through.test", "*.through.test").Certificate}})
	web := secureOrigin(t, "web", &tls.Config{Certificates: []tls.Certificate{far.issue("web.internal").Certificate}})
	encrypt := "  trafficPolicy: {tls: {mode: SIMPLE, sni: %s.internal, caCertificates: " + far.file + "}}\n"
	bytes := func(mode, name string, hosts ...string) string {
		return ends("TLS", mode+", credentialName: "+name, hosts...)
	}
	w := newWorld(t, map[string]string{
		"gateway.yaml": secured("", bytes("mode: SIMPLE", "plain", "plain.test"), bytes("mode: SIMPLE", "wild", "*.plain.test"),
			bytes("mode: MUTUAL", "mutual", "mutual.test"), bytes("mode: SIMPLE", "secure", "secure.test"), bytes("mode: SIMPLE", "lost", "lost.test"),
			simple("http", "http.test"), simple("web", "web.test"), ends("TLS", "mode: PASSTHROUGH", "through.test", "*.through.test")),
		"secrets.yaml": ca.issue("plain.test").secret("plain") + "---\n" + ca.issue("*.plain.test").secret("wild") + "---\n" +
			ca.issue("mutual.test").secret("mutual", "ca.crt", far.text(far.file)) + "---\n" + ca.issue("secure.test").secret("secure") + "---\n" +
			ca.issue("lost.test").secret("lost") + "---\n" + ca.issue("http.test").secret("http") + "---\n" + ca.issue("web.test").secret("web"),
		"plain.yaml": lines("plain.internal", plain) + "---\n" + tcpRoute("plain", "plain.test", "plain.internal") + "---\n" +
			tcpRoute("mutual", "mutual.test", "plain.internal"),
		"wild.yaml":    lines("wild.internal", wild) + "---\n" + tcpRoute("wild", "*.plain.test", "wild.internal"),
		"secure.yaml":  lines("secure.internal", secure) + "---\n" + tcpRoute("secure", "secure.test", "secure.internal") + "---\n" + rule("secure.internal", fmt.Sprintf(encrypt, "secure")),
		"through.yaml": lines("through.internal", through) + "---\n" + passed("through", "through.test", "through.internal") + "---\n" + passed("deep", "*.through.test", "through.internal"),
		"http.yaml":    fleet("o.internal", []*origin{newOrigin(t, "o")}) + "---\n" + routes("http", "http.test", to("o.internal")),
		"web.yaml":     fleet("web.internal", []*origin{web}) + "---\n" + routes("web", "web.test", to("web.internal")) + "---\n" + rule("web.internal", fmt.Sprintf(encrypt, "web")),
	}).run().settled()
	w.flawless()
	at := func(trust *authority, sni string) caller { return caller{sni: sni, trust: trust} }
	w.lineVisits(
		lineVisit{caller: at(ca, "plain.test"), want: "plain", shown: "plain.test"},
		lineVisit{caller: at(ca, "a.plain.test"), want: "wild", shown: "*.plain.test"},
		lineVisit{name: "without a certificate", caller: at(ca, "mutual.test")},
		lineVisit{name: "with its certificate", caller: caller{sni: "mutual.test", trust: ca, show: &client}, want: "plain"},
		lineVisit{caller: at(ca, "secure.test"), want: "secure"},
		lineVisit{name: "without a route", caller: at(ca, "lost.test")},
		lineVisit{caller: at(far, "through.test"), want: "through", shown: "through.test"},
		lineVisit{caller: at(far, "a.through.test"), want: "through"},
		lineVisit{caller: caller{sni: "nobody.example"}},
	)
	if got := secure.named(); got != "secure.internal" {
		t.Errorf("the destination is asked for %q", got)
	}
	if got := through.named(); got != "a.through.test" {
		t.Errorf("the destination that TLS passes through to is asked for %q", got)
	}
	w.visits(
		visit{caller: at(ca, "http.test"), body: "o http.test", shown: "http.test"},
		visit{caller: at(ca, "web.test"), body: "web sni=web.internal client=nobody", shown: "web.test"},
		visit{name: "a host of bytes asked for over HTTP", caller: at(ca, "http.test"), query: query{host: "plain.test"}, code: http.StatusMisdirectedRequest},
		visit{name: "a host passed through asked for over HTTP", caller: at(ca, "http.test"), query: query{host: "through.test"}, code: http.StatusMisdirectedRequest},
	)
	// Plain text on a port of TLS is closed.
	w.hears(dialing{port: w.port, first: "GET / HTTP/1.1\r\nHost: http.test\r\n\r\n"}, "")
}
