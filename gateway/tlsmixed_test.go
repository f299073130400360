package gateway_test

import (
	"bufio"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
)

// insideTLS is a host of protocol TLS, with rules for the bytes inside.
func insideTLS(host string, rules ...model.TCPRule) gateway.TLSHost {
	h := secure(host, nil)
	h.Server.Protocol = model.ProtocolTLS
	h.Bindings = []gateway.StreamBinding{{Set: &model.RouteSet{TCP: rules}}}
	return h
}

// withheld is a host without a certificate.
func withheld(host string) gateway.TLSHost {
	h := secure(host, nil)
	h.Certificates = nil
	return h
}

// whoseTLS says who ended the TLS of sni, and what was inside: the name in the
// certificate and, if it is Sluice's, the greeting or HTTP status; "" if the
// connection was closed.
func whoseTLS(t *testing.T, address, sni, from string) string {
	t.Helper()
	conn := stdtls.Client(dialFrom(t, from, address), &stdtls.Config{ServerName: sni, InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%s: neither a handshake nor a close: %v", sni, err)
		}
		return ""
	}
	name := conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	if !strings.HasPrefix(name, "*.") {
		return name // a destination's own
	}
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", sni)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", sni, err)
	}
	return name + " " + strings.TrimSpace(line)
}

// TestTLSMixed has TLS that ends here, TLS that passes and plain bytes on one port.
func TestTLSMixed(t *testing.T) {
	p := newPorts(t)
	p.certificate("cert", ecdsaKey(t), "*.foo.com")
	p.table("t", false, routeTo("*.foo.com", "/"), routeTo("a.foo.com", "/"))
	for _, name := range []string{"passed", "other"} {
		p.target(name, tlsServer(t, name), nil)
	}
	p.target("inside", greeter(t, "inside"), nil)
	p.target("office", greeter(t, "office"), nil)
	p.target("raw", serve(t, func(conn net.Conn) {
		if _, err := conn.Read(make([]byte, 100)); err == nil {
			fmt.Fprintln(conn, "raw")
		}
	}), nil)
	older := sniServer(sniRule("a", to("passed"), "pass.foo.com", "*.pass.com", "own.foo.com"))
	younger := sniServer(sniRule("b", to("other"), "a.foo.com", "other.foo.com"))
	own := secure("own.foo.com", nil)
	in := gateway.StreamInput{Bind: model.Bind{Address: "127.0.0.1"}, TLS: []gateway.TLSHost{
		secure("*.foo.com", nil),
		secure("a.foo.com", nil),
		withheld("closed.foo.com"),
		insideTLS("nothing.foo.com"),
		own,
		insideTLS("tcp.foo.com",
			model.TCPRule{Field: "x", Matches: []model.TCPMatch{{Field: "x", SourceSubnet: "127.0.0.5/32"}}, Route: to("office")},
			model.TCPRule{Field: "y", Matches: []model.TCPMatch{{Field: "y", Port: 9}}, Route: to("office")},
			model.TCPRule{Field: "z", Route: to("inside")}),
		withheld("x.pass.com"),
	}}
	in.Servers = []gateway.StreamServer{older}
	for i := range in.TLS {
		in.Servers = append(in.Servers, gateway.StreamServer{Server: in.TLS[i].Server})
	}
	in.Servers = append(in.Servers, younger, tcpServer(model.ProtocolTCP, model.TCPRule{Route: to("raw")}))
	p.listenTLS(2, in) // own.foo.com and a.foo.com have an older server each
	address := p.start()["127.0.0.1_0"]

	for _, c := range []struct{ sni, from, want string }{
		{"a.foo.com", "", "*.foo.com HTTP/1.1 200 OK"},
		{"b.foo.com", "", "*.foo.com HTTP/1.1 200 OK"},
		{"closed.foo.com", "", ""},
		{"nothing.foo.com", "", ""},
		{"own.foo.com", "", "passed"},
		{"pass.foo.com", "", "passed"},
		{"y.pass.com", "", "passed"},
		{"x.pass.com", "", ""},
		{"other.foo.com", "", "other"},
		{"tcp.foo.com", "127.0.0.5", "*.foo.com office"},
		{"tcp.foo.com", "127.0.0.6", "*.foo.com inside"},
		{"unknown.org", "", ""},
	} {
		if got := whoseTLS(t, address, c.sni, c.from); got != c.want {
			t.Errorf("%s from %q: %q, want %q", c.sni, c.from, got, c.want)
		}
	}
	conn := dialFrom(t, "", address)
	fmt.Fprint(conn, "hello, this is not TLS")
	if got := greeting(t, conn); got != "raw" {
		t.Errorf("plain text reached %q", got)
	}
	inside := stdtls.Client(dialFrom(t, "", address), p.authority.trusting("tcp.foo.com"))
	if err := inside.Handshake(); err != nil {
		t.Fatal(err)
	}
	if proto := inside.ConnectionState().NegotiatedProtocol; proto != "" {
		t.Errorf("bytes agreed on protocol %q", proto)
	}
}

// TestTLSSecretThatNeverComes opens the port for one host although nobody answers
// for the secret of another.
func TestTLSSecretThatNeverComes(t *testing.T) {
	p := newPorts(t)
	p.certificate("cert", ecdsaKey(t), "a.foo.com")
	p.certificate("secret/lost", ecdsaKey(t), "b.foo.com")
	p.table("t", false, routeTo("a.foo.com", "/"))
	lost := secure("b.foo.com", nil)
	lost.Certificates = []string{"secret/lost"}
	p.listenTLS(0, gateway.StreamInput{Bind: model.Bind{Address: "127.0.0.1"}, TLS: []gateway.TLSHost{secure("a.foo.com", nil), lost}})
	delete(p.resources, model.ResourceName{Type: model.TypeSecret, Name: "secret/lost"})
	address := p.start()["127.0.0.1_0"]
	if got, err := ask(t, client(t, address, p.authority.trusting("a.foo.com"), true), "a.foo.com"); err != nil || got.status != http.StatusOK {
		t.Errorf("status %d, %v", got.status, err)
	}
	if got := certified(t, address, "b.foo.com"); got != "" {
		t.Errorf("b.foo.com showed the certificate of %q", got)
	}
}

// TestTLSMisdirected asks on one HTTP/2 connection for hosts of other tables,
// however they are found. All hosts show one certificate.
func TestTLSMisdirected(t *testing.T) {
	p := newPorts(t)
	p.certificate("cert", ecdsaKey(t), "*.foo.com")
	for _, found := range findings() {
		bind := model.Bind{Address: found.address}
		simple := model.Table{Bind: bind, TLS: true}.Name()
		strict := model.Table{Bind: bind, TLS: true, Policy: "strict"}.Name()
		redirected := routeTo("redirected.foo.com", "/")
		redirected.RequireTls = routev3.VirtualHost_ALL
		p.table(simple, found.scoped, routeTo("a.foo.com", "/"), routeTo("*.w.foo.com", "/"), redirected, gateway.Misdirected([]string{"m.w.foo.com"}))
		p.table(strict, found.scoped, routeTo("m.foo.com", "/"), routeTo("m.w.foo.com", "/"))
		in := gateway.StreamInput{Bind: bind, TLS: []gateway.TLSHost{
			secure("*.foo.com", nil), secure("m.foo.com", mutual()),
		}}
		for i := range in.TLS {
			in.TLS[i].Table, in.TLS[i].Scopes = simple, found.scopes
		}
		in.TLS[1].Table = strict
		p.listenTLS(0, in)
	}
	open := p.start()
	for name, found := range findings() {
		address := found.address
		t.Run(name, func(t *testing.T) {
			config := p.authority.trusting("a.foo.com")
			via := client(t, open[address+"_0"], config, true)
			for host, want := range map[string]int{
				"a.foo.com": 200, "A.foo.com:8443": 200, "x.w.foo.com": 200, "redirected.foo.com": 200, "Redirected.foo.com:443": 200,
				"m.foo.com": 421, "M.foo.com.:443": 421, "m.w.foo.com": 421, "M.w.foo.com": 421, "unknown.org": 421,
			} {
				if got, err := ask(t, via, host); err != nil || got.status != want {
					t.Errorf("%s after a.foo.com: status %d, want %d; %v", host, got.status, want, err)
				}
			}
			config = p.authority.trusting("m.foo.com")
			config.Certificates = []stdtls.Certificate{p.authority.issue(ecdsaKey(t), "client")}
			via = client(t, open[address+"_0"], config, true)
			for host, want := range map[string]int{"m.foo.com": 200, "M.w.foo.com": 200, "a.foo.com": 421, "x.w.foo.com": 421} {
				if got, err := ask(t, via, host); err != nil || got.status != want {
					t.Errorf("%s after m.foo.com: status %d, want %d; %v", host, got.status, want, err)
				}
			}
		})
	}
}

// TestTLSOnDemand has one chain fetch certificates by name, next to chains of their
// own, and both answer challenges.
func TestTLSOnDemand(t *testing.T) {
	p := newPorts(t)
	p.certificate("cert", ecdsaKey(t), "m.foo.com", "*.own.com")
	for _, name := range []string{"a.foo.com", "b.foo.com", model.OnDemandNoName} {
		p.certificate(name, ecdsaKey(t), name)
	}
	p.target(model.ClusterChallengeTLS, tlsServer(t, "validated"), nil)
	p.target("passed", tlsServer(t, "passed"), nil)
	p.table("t", false, routeTo("a.foo.com", "/"))
	p.listenTLS(1, gateway.StreamInput{
		Bind:       model.Bind{Address: "127.0.0.1"},
		Servers:    []gateway.StreamServer{sniServer(sniRule("a", to("passed"), "pass.org", "*"))},
		TLS:        []gateway.TLSHost{secure("*.own.com", nil), secure("m.foo.com", nil)},
		OnDemand:   &gateway.OnDemand{Server: secure("a.foo.com", nil).Server, Table: "t"},
		Challenged: []string{"a.foo.com", "m.foo.com", "new.foo.com", "x.own.com"},
		Tickets:    true,
	})
	address := p.start()["127.0.0.1_0"]
	for sni, want := range map[string]string{
		"a.foo.com": "a.foo.com", "b.foo.com": "b.foo.com", "m.foo.com": "m.foo.com *.own.com", "x.own.com": "m.foo.com *.own.com",
		"y.own.com": "m.foo.com *.own.com", "new.foo.com": "", "unknown.org": "", "": model.OnDemandNoName, "pass.org": "passed",
		// Names that no host can have: nobody is asked for their certificate.
		"sluice/tickets": "", "secret/default/x/ca": "", "\xff\xfe.foo.com": "", "a b": "",
	} {
		if got := certified(t, address, sni); got != want {
			t.Errorf("%q: certificate of %q, want %q", sni, got, want)
		}
	}
	for _, sni := range []string{"a.foo.com", "m.foo.com", "new.foo.com", "x.own.com"} {
		conn := stdtls.Client(dialFrom(t, "", address), &stdtls.Config{ServerName: sni, InsecureSkipVerify: true, NextProtos: []string{"acme-tls/1"}})
		if err := conn.Handshake(); err != nil || conn.ConnectionState().PeerCertificates[0].Subject.CommonName != "validated" {
			t.Errorf("a validator of %s did not reach who answers: %v", sni, err)
		}
	}
	via := client(t, address, p.authority.trusting("a.foo.com"), true)
	if got, err := ask(t, via, "a.foo.com"); err != nil || got.status != http.StatusOK {
		t.Errorf("status %d, %v", got.status, err)
	}
}

// TestChallenge asks for HTTP-01 challenges where everything else is redirected,
// forbidden or missing, in both layouts.
func TestChallenge(t *testing.T) {
	redirected := routeTo("a.foo.com", "/")
	redirected.RequireTls = routev3.VirtualHost_ALL
	worlds := worldsWith(nil)[:2]
	var sites []site
	for _, w := range worlds {
		sites = append(sites, site{
			gateway.ListenerInput{Bind: w.bind, Settings: model.DefaultSettings()},
			w.scoped,
			[]*routev3.VirtualHost{
				gateway.WithChallenge(redirected),
				gateway.WithChallenge(gateway.WithChallenge(routeTo("b.foo.com", "/only"))),
				routeTo("*.foo.com", "/"),
			},
		})
	}
	resources := resourcesOfSites(t, sites)
	solver := serve(t, func(conn net.Conn) {
		if request, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			text := request.Host + request.URL.Path + request.Header.Get(model.HeaderScope)
			fmt.Fprintf(conn, "HTTP/1.1 202 Accepted\r\nX-Vhost: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", text)
		}
	})
	add(t, resources, model.TypeCluster, clusterAt(t, model.ClusterChallengeHTTP, solver, nil))
	open := startEnvoy(t, resources, startEcho(t))
	for _, w := range worlds {
		t.Run(w.layout(), func(t *testing.T) {
			for _, c := range []struct {
				target string
				status int
			}{
				{"a.foo.com/.well-known/acme-challenge/token", 202},
				{"A.foo.com/.well-known/acme-challenge/token", 202},
				{"a.foo.com:80/.well-known/acme-challenge/token", 202},
				{"a.foo.com/.well-known/other", 301},
				{"A.foo.com/", 301},
				{"b.foo.com/.well-known/acme-challenge/x", 202},
				{"b.foo.com/.well-known/acme-challenge", 404},
				{"c.foo.com/.well-known/acme-challenge/x", 200},
			} {
				host, path, _ := strings.Cut(c.target, "/")
				got := raw(t, open[model.ListenerName(w.bind)], "GET /"+path+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
				if got.status != c.status || c.status == 202 && got.vhost != c.target {
					t.Errorf("%s: status %d, seen as %q; want %d", c.target, got.status, got.vhost, c.status)
				}
			}
		})
	}
}
