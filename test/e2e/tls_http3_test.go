package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// overQUIC asks over HTTP/3.
func (w *world) overQUIC(c caller, host string) (out echo, err error) {
	transport := &http3.Transport{
		TLSClientConfig: c.config(),
		Dial: func(ctx context.Context, _ string, config *tls.Config, quicConfig *quic.Config) (*quic.Conn, error) {
			return quic.DialAddrEarly(ctx, fmt.Sprintf("127.0.0.1:%d", w.port), config, quicConfig)
		},
	}
	defer transport.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.sni+"/", nil)
	if err != nil {
		return out, err
	}
	req.Host = host
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return echo{reply: reply{code: resp.StatusCode, header: resp.Header, body: string(b)}, proto: resp.Proto, tls: resp.TLS}, err
}

// A gateway that asks for it serves HTTP/3 and says so; its neighbour, and hosts
// that ask for client certificates, do neither.
func TestHTTP3(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	files := map[string]string{
		"gateway.yaml": secured(", annotations: {sluice.dev/http3: 'true'}", simple("quick", "quick.test", "other.test"), simple("wild", "*.quick.test"),
			https("mode: MUTUAL, credentialName: mutual", "mutual.test")),
		"still.yaml":   strings.Replace(secured("", simple("still", "still.test")), "{name: edge", "{name: still", 1),
		"routes.yaml":  everywhere(newOrigin(t, "o")),
		"still2.yaml":  strings.Replace(routes("still", "still.test", to("o.internal")), "[edge]", "[still]", 1),
		"quick.yaml":   ca.issue("quick.test", "other.test").secret("quick"),
		"secrets.yaml": ca.issue("*.quick.test").secret("wild") + "---\n" + ca.issue("mutual.test").secret("mutual", "ca.crt", ca.text(ca.file)) + "---\n" + ca.issue("still.test").secret("still"),
	}
	w := newWorld(t, files).run().settled()
	w.problem("InvalidValue", "mode MUTUAL", "HTTP/3")
	w.unexpectedProblems("InvalidValue")
	at := func(sni string) caller { return caller{sni: sni, trust: ca} }
	for sni, shown := range map[string]string{"quick.test": "quick.test", "other.test": "quick.test", "a.quick.test": "*.quick.test"} {
		told, err := w.call(at(sni), query{})
		if want := fmt.Sprintf(`h3=":%d"`, w.port); err != nil || !strings.Contains(told.header.Get("alt-svc"), want) {
			t.Errorf("%s says alt-svc %q %v, want %s", sni, told.header.Get("alt-svc"), err, want)
		}
		a, err := w.overQUIC(at(sni), sni)
		if err != nil || a.code != http.StatusOK || a.proto != "HTTP/3.0" || !strings.HasPrefix(a.body, "o "+sni) || a.shown() != shown || a.said("x-forwarded-proto") != "https" {
			t.Errorf("%s over QUIC answers %d %s %q %v", sni, a.code, a.proto, a.body, err)
		}
	}
	client := ca.issue("client")
	for _, c := range []caller{{sni: "still.test", trust: ca}, {sni: "mutual.test", trust: ca, show: &client}} {
		a, err := w.call(c, query{})
		if err != nil || a.code != http.StatusOK || a.header.Get("alt-svc") != "" {
			t.Errorf("%s answers %d %v %v, want 200 without alt-svc", c.sni, a.code, a.header, err)
		}
		w.noQUIC(c)
	}
	w.noQUIC(caller{sni: "nobody.example"})
	// What belongs to another table is elsewhere over QUIC too.
	if a, err := w.overQUIC(at("quick.test"), "mutual.test"); err != nil || a.code != http.StatusMisdirectedRequest {
		t.Errorf("mutual.test over the connection of quick.test answers %d %v", a.code, err)
	}
	w.write("quick.yaml", ca.issue("next", "quick.test").secret("quick"))
	w.eventually("the next certificate is shown over QUIC", func() error {
		a, err := w.overQUIC(at("quick.test"), "quick.test")
		if err == nil && a.shown() != "next" {
			err = errNot(a.shown())
		}
		return err
	})
	// And who takes the wish back has none.
	w.write("gateway.yaml", strings.Replace(files["gateway.yaml"], "'true'", "'false'", 1))
	w.eventually("nothing says that there is QUIC", func() error {
		a, err := w.call(at("quick.test"), query{})
		if err == nil && a.header.Get("alt-svc") != "" {
			err = errNot(a.header.Get("alt-svc"))
		}
		return err
	})
}

// noQUIC expects a refusal, and at once where anybody listens.
func (w *world) noQUIC(c caller) {
	w.t.Helper()
	a, err := w.overQUIC(c, c.sni)
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		w.t.Errorf("%s over QUIC answers %d %q %v, want a refusal", c.sni, a.code, a.body, err)
	}
}
