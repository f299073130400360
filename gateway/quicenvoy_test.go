package gateway_test

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/test/envoytest"
)

// overQUIC speaks HTTP/3 to address.
func overQUIC(t *testing.T, address string, config *stdtls.Config) http.RoundTripper {
	t.Helper()
	transport := &http3.Transport{
		TLSClientConfig: config,
		QUICConfig:      &quic.Config{HandshakeIdleTimeout: patience},
		Dial: func(ctx context.Context, _ string, c *stdtls.Config, q *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, address, c, q)
		},
	}
	t.Cleanup(func() { transport.Close() })
	return transport
}

// TestQUIC asks over HTTP/3 however the table is found, and over TCP where HTTP/3 is.
func TestQUIC(t *testing.T) {
	p := newPorts(t)
	p.certificate("cert", ecdsaKey(t), "*.foo.com")
	http3 := func(t *model.ServerTLS) { t.HTTP3 = true }
	binds := map[string]model.Bind{}
	for name, found := range findings() {
		bind := model.Bind{Address: found.address, Port: uint32(envoytest.FreePort(t))}
		binds[name] = bind
		table := model.Table{Bind: bind, TLS: true}.Name()
		p.table(table, found.scoped, routeTo("a.foo.com", "/"), routeTo("plain.foo.com", "/"), routeTo("*.w.foo.com", "/"))
		in := gateway.StreamInput{Bind: bind, Tickets: true, TLS: []gateway.TLSHost{
			secure("*.w.foo.com", http3),
			secure("a.foo.com", http3),
			secure("m.foo.com", func(t *model.ServerTLS) { t.Mode, t.HTTP3 = model.ServerTLSMutual, true }),
			secure("old.foo.com", func(t *model.ServerTLS) { t.HTTP3, t.MaxVersion = true, model.TLS12 }),
			secure("plain.foo.com", nil),
			withheld("x.w.foo.com"),
		}}
		in.TLS[5].Server.TLS.HTTP3 = true
		for i := range in.TLS {
			in.TLS[i].Table, in.TLS[i].Scopes = table, found.scopes
		}
		p.listenTLS(0, in)
	}
	open := p.start()
	for name, bind := range binds {
		t.Run(name, func(t *testing.T) {
			via := overQUIC(t, open[model.QUICName(bind)], p.authority.trusting("a.foo.com"))
			for host, want := range map[string]int{"a.foo.com": 200, "A.foo.com:443": 200, "y.w.foo.com": 200, "m.foo.com": 421} {
				got, err := ask(t, via, host)
				if err != nil || got.status != want {
					t.Errorf("%s: status %d, want %d; %v", host, got.status, want, err)
				}
				if want == http.StatusOK && got.seen.Header.Get("X-Forwarded-Proto") != "https" {
					t.Errorf("the destination saw %v", got.seen.Header)
				}
			}
			for _, sni := range []string{"m.foo.com", "plain.foo.com", "old.foo.com", "x.w.foo.com", "unknown.org"} {
				config := p.authority.trusting(sni)
				config.InsecureSkipVerify = true
				got, err := ask(t, overQUIC(t, open[model.QUICName(bind)], config), sni)
				if sni == "x.w.foo.com" { // there is a chain that would take it
					if err != nil || got.status != http.StatusMisdirectedRequest {
						t.Errorf("%s: status %d, %v", sni, got.status, err)
					}
				} else if err == nil {
					t.Errorf("%s: status %d over QUIC", sni, got.status)
				} else if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: %v", sni, err)
				}
			}
			for sni, want := range map[string]string{"a.foo.com": fmt.Sprintf(`h3=":%d"; ma=86400`, bind.Port), "plain.foo.com": ""} {
				for _, host := range []string{sni, "unknown.org"} { // Sluice's own answers say it too
					got, err := ask(t, client(t, open[model.ListenerName(bind)], p.authority.trusting(sni), true), host)
					if err != nil || got.header.Get("Alt-Svc") != want {
						t.Errorf("%s: alt-svc %q, want %q; %v", host, got.header.Get("Alt-Svc"), want, err)
					}
				}
			}
		})
	}
}
