package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sluicegw/sluice/test/envoytest"
)

// A table of more than 256 hosts has another layout than a smaller one. Nobody
// notices when it gets there.

// before and after are how many hosts there are on both sides of the limit.
const before, after = 250, 262

// village is a file with the hosts h0.test, h1.test and so on.
func village(n int, service string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(routes(fmt.Sprintf("h%d", i), fmt.Sprintf("h%d.test", i), to(service)) + "---\n")
	}
	return b.String()
}

// grow adds one host after the other, until there are more than the limit.
func (w *world) grow(service string) {
	w.t.Helper()
	for i := before; i < after; i++ {
		w.write(fmt.Sprintf("h%d.yaml", i), routes(fmt.Sprintf("h%d", i), fmt.Sprintf("h%d.test", i), to(service)))
		w.wait()
	}
}

// one polls a host over one connection that must stay.
func (w *world) one(host, want string) *traffic {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	dials := 0
	client := newClient()
	client.Transport = &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials++; dials > 1 {
			return nil, errors.New("the connection was closed")
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	tr := &traffic{t: w.t, what: host + " over one connection", stop: stop, after: client.CloseIdleConnections}
	tr.poll(ctx, func(int) string { return post(client, w.url("/poll"), host, want) })
	return tr
}

// pushed is how much was sent of a type until now, from the metrics.
func (w *world) pushed(what, typ string) int {
	w.t.Helper()
	_, text, err := fetch("http://"+w.admin+"/metrics", "")
	if err != nil {
		w.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(text, fmt.Sprintf("sluice_xds_pushed_%s_total{type=%q} ", what, typ))
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseFloat(line, 64)
	if err != nil {
		w.t.Fatalf("pushed %s: %q: %v", what, line, err)
	}
	return int(n)
}

// editsAreCheap changes a host again and expects the change to be small.
func (w *world) editsAreCheap(service string) {
	w.t.Helper()
	n, bytes := w.pushed("resources", "route"), w.pushed("bytes", "route")
	w.write("h260.yaml", routes("h260", "h260.test", "  - headers: {response: {set: {x-edited: yes}}}\n    route: [{destination: {host: "+service+"}}]\n"))
	w.wait()
	if n, bytes = w.pushed("resources", "route")-n, w.pushed("bytes", "route")-bytes; n != 1 || bytes > 4096 {
		w.t.Errorf("an edit of one host pushes %d route tables of %d bytes", n, bytes)
	}
}

func TestPassingTheLimitCutsNothing(t *testing.T) {
	t.Parallel()
	stream := streamServer(t, nil)
	files := withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"), "a.yaml": service("a.internal", backend(t, "a")), "hosts.yaml": village(before, "a.internal"),
		"wild.yaml":   routes("wild", "*.wild.test", to("a.internal")),
		"stream.yaml": fleet("stream.internal", []*origin{stream}) + "---\n" + routes("stream", "stream.test", to("stream.internal")),
	})
	w := newWorld(t, files).run()
	w.wait()
	socket := w.plainWebSocket("stream.test")
	var all []*traffic
	for _, host := range []string{"h0.test", "h0.test:8080", "H7.test", "x.wild.test", "h9.test."} {
		all = append(all, w.polled(host, "a"), w.one(host, "a "+host))
	}
	all = append(all, w.neighbour(), w.openLoop("h3.test", 200))
	socket.says("before")
	w.grow("a.internal")
	socket.says("after")
	w.answersNow("h261.test", "/", http.StatusOK, "a h261.test")
	w.editsAreCheap("a.internal")
	for _, tr := range all {
		tr.unharmed()
	}
	w.flawless()
}

// plainSocket is a WebSocket without TLS that echoes lines.
type plainSocket struct {
	t  *testing.T
	c  net.Conn
	in *bufio.Reader
}

func (w *world) plainWebSocket(host string) plainSocket {
	w.t.Helper()
	c, err := dialing{port: w.port}.open()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: "+host+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		w.t.Fatalf("the upgrade is answered %v %v", resp, err)
	}
	return plainSocket{w.t, c, in}
}

func (s plainSocket) says(text string) {
	s.t.Helper()
	_, _ = io.WriteString(s.c, text+"\n")
	if got, err := s.in.ReadString('\n'); err != nil || got != text+"\n" {
		s.t.Errorf("%s: the WebSocket answers %q %v", text, got, err)
	}
}

// The same over TLS: for a wildcard whose hosts pass the limit, and for exact
// names that do.
func TestPassingTheLimitOverTLSCutsNothing(t *testing.T) {
	t.Parallel()
	var few, many []string
	for i := range after {
		few = append(few, fmt.Sprintf("h%d.test", i))
	}
	few, many = few[:before:before], few
	for name, c := range map[string]struct{ first, then []string }{
		"a wildcard": {[]string{"*.test"}, []string{"*.test"}}, "exact names": {few, many},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := newAuthority(t)
			stream := streamServer(t, nil)
			w := newWorld(t, map[string]string{
				"gateway.yaml": secured("", simple("one", c.first...)), "one.yaml": ca.issue("*.test").secret("one"),
				"a.yaml": service("a.internal", backend(t, "a")), "hosts.yaml": village(before-1, "a.internal"),
				"stream.yaml": fleet("stream.internal", []*origin{stream}) + "---\n" +
					routes("stream", "h249.test", to("stream.internal")),
			}).run()
			w.wait()
			lasting := w.lasting(caller{sni: "h249.test", trust: ca})
			var all []*traffic
			for _, host := range []string{"h0.test", "h0.test:8443", "H7.test"} {
				for _, h1 := range []bool{true, false} {
					all = append(all, w.poll(visit{caller: caller{sni: "h3.test", trust: ca, h1: h1}, query: query{host: host}, body: "a " + host}))
				}
			}
			lasting.live("before")
			w.write("gateway.yaml", secured("", simple("one", c.then...)))
			w.grow("a.internal")
			lasting.live("after")
			w.visits(visit{caller: caller{sni: "h261.test", trust: ca}, body: "a h261.test"})
			if len(c.first) == 1 {
				w.editsAreCheap("a.internal")
			}
			for _, tr := range all {
				tr.unharmed()
			}
			w.flawless()
		})
	}
}

// Sluice is killed and starts again with another limit, while its Envoy serves on
// until the next one takes over: nothing is lost, in either direction.
func TestAnotherLimitAfterAKill(t *testing.T) {
	t.Parallel()
	files := withNeighbour(t, map[string]string{
		"gateway.yaml": edge("*"), "a.yaml": service("a.internal", backend(t, "a")), "hosts.yaml": village(50, "a.internal"),
		"wild.yaml": routes("wild", "*.wild.test", to("a.internal")),
	})
	w := newWorld(t, files)
	flags := func(above string) []string {
		return []string{"--keep-envoy", "--drain-time", "1s", "--envoy", envoytest.Binary(t), "--scoped-above", above}
	}
	w.run(flags("256")...)
	pid := w.running()
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	var all []*traffic
	for _, host := range []string{"h0.test", "h0.test:8080", "x.wild.test"} {
		all = append(all, w.polled(host, "a"))
	}
	for i, above := range []string{"10", "256"} {
		w.stop(syscall.SIGKILL)
		w.run(flags(above)...)
		doc := w.becomes("the next epoch", func(d statusDoc) bool { return d.Envoy.Epoch == i+1 && d.Envoy.Phase == "Running" })
		old := pid
		pid = doc.Envoy.PID
		gone(t, old)
		w.wait()
	}
	for _, tr := range all {
		tr.unharmed()
	}
	w.stop(syscall.SIGTERM)
	gone(t, pid)
}
