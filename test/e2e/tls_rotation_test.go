package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// webSocket is a connection that echoes lines.
type webSocket struct {
	*tls.Conn
	in *bufio.Reader
}

func (w *world) webSocket(c caller) webSocket {
	w.t.Helper()
	c.h1 = true
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.port), c.config())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	out := webSocket{conn, bufio.NewReader(conn)}
	_, _ = io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: "+c.sni+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	resp, err := http.ReadResponse(out.in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		w.t.Fatalf("the upgrade is answered %v %v", resp, err)
	}
	return out
}

// lasting are connections that must outlive what happens to others.
type lasting struct {
	t      *testing.T
	socket webSocket
	open   []*session
}

func (w *world) lasting(c caller) lasting {
	w.t.Helper()
	old := c
	old.h1 = true
	return lasting{w.t, w.webSocket(c), []*session{w.mustOpen(c), w.mustOpen(old)}}
}

// live expects all of them to answer.
func (l lasting) live(when string) {
	l.t.Helper()
	_, _ = io.WriteString(l.socket, when+"\n")
	if got, err := l.socket.in.ReadString('\n'); err != nil || got != when+"\n" {
		l.t.Errorf("%s: the WebSocket answers %q %v", when, got, err)
	}
	for _, s := range l.open {
		if a, err := s.ask(query{}); err != nil || a.code != http.StatusNotFound { // as the origin does
			l.t.Errorf("%s: the open %s connection answers %d %v", when, a.proto, a.code, err)
		}
	}
}

// A new certificate reaches new handshakes, and no open connection; hosts that
// come and go leave the connections of others alone.
func TestTLSRotation(t *testing.T) { layouts(t, rotation) }

func rotation(t *testing.T, metadata string) {
	ca, clients, next := newAuthority(t), newAuthority(t), newAuthority(t)
	client, later := clients.issue("client"), next.issue("later")
	turn := func(n int, host string) leaf { return ca.issue(fmt.Sprintf("turn %d", n), host) }
	servers := []string{
		simple("moving", "moving.test"), simple("still", "still.test"), simple("wild", "*.wild.test"),
		https("mode: MUTUAL, credentialName: mutual, caCertCredentialName: clients", "mutual.test"),
	}
	files := map[string]string{
		"gateway.yaml": secured(metadata, servers...),
		"routes.yaml":  everywhere(streamServer(t, nil)),
		"moving.yaml":  turn(0, "moving.test").secret("moving"), "wild.yaml": turn(0, "*.wild.test").secret("wild"),
		"still.yaml": ca.issue("still.test").secret("still"), "mutual.yaml": ca.issue("mutual.test").secret("mutual"),
		"clients.yaml": secret("clients", map[string]string{"ca.crt": clients.text(clients.file)}),
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	pid := w.status().Envoy.PID
	moving, still := w.lasting(caller{sni: "moving.test", trust: ca}), w.lasting(caller{sni: "still.test", trust: ca})
	wild := w.lasting(caller{sni: "a.wild.test", trust: ca})
	mutual := w.lasting(caller{sni: "mutual.test", trust: ca, show: &client})
	all := func(when string) {
		t.Helper()
		for _, l := range []lasting{moving, still, wild, mutual} {
			l.live(when)
		}
	}
	all("at first")
	newest := func(n int, sni string) visit {
		return visit{caller: caller{sni: sni, trust: ca}, code: 404, shown: fmt.Sprintf("turn %d", n)}
	}
	for n := 1; n <= 5; n++ {
		w.write("moving.yaml", turn(n, "moving.test").secret("moving"))
		w.write("wild.yaml", turn(n, "*.wild.test").secret("wild"))
		w.visited(newest(n, "moving.test"))
		w.visited(newest(n, "b.wild.test"))
		all(fmt.Sprintf("after rotation %d", n))
	}
	// As fast as files can be written: the last one counts.
	for n := 6; n <= 40; n++ {
		w.write("moving.yaml", turn(n, "moving.test").secret("moving"))
	}
	w.wait()
	w.visits(newest(40, "moving.test"))
	// New authorities: who was let in stays, who comes is held against the new.
	w.write("clients.yaml", secret("clients", map[string]string{"ca.crt": next.text(next.file)}))
	w.visited(visit{caller: caller{sni: "mutual.test", trust: ca, show: &later}, code: 404})
	w.visits(visit{name: "old client", caller: caller{sni: "mutual.test", trust: ca, show: &client}, code: refused})
	all("after new authorities")
	w.comeAndGo(ca, files["gateway.yaml"], all)
	w.flawless()
	if now := w.status().Envoy.PID; now != pid {
		t.Errorf("envoy is %d, was %d", now, pid)
	}
}

// comeAndGo adds hosts to a gateway and takes them away; still looks at others
// after each.
func (w *world) comeAndGo(ca *authority, gateway string, still func(when string)) {
	w.t.Helper()
	for n := range 5 {
		host := fmt.Sprintf("h%d.test", n)
		w.write("more.yaml", ca.issue(host).secret("more"))
		w.write("gateway.yaml", gateway+simple("more", host))
		w.visited(visit{caller: caller{sni: host, trust: ca}, code: 404, shown: host})
		still("after " + host)
	}
	w.write("gateway.yaml", gateway)
	w.remove("more.yaml")
	w.visited(visit{caller: caller{sni: "h4.test"}, code: refused})
	still("after the last is gone")
}
