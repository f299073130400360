package gateway_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluicegw/sluice/model"
)

// eachLayout runs test against both layouts, each with "*", on a real Envoy
// with the settings that change made.
func eachLayout(t *testing.T, change func(*model.Settings), test func(t *testing.T, address string)) {
	t.Helper()
	worlds := worldsWith(change)[2:]
	open := startEnvoy(t, resourcesOf(t, worlds), startEcho(t))
	for _, w := range worlds {
		t.Run(w.layout(), func(t *testing.T) { test(t, open[model.ListenerName(w.bind)]) })
	}
}

// TestEdge checks what the default settings refuse and change.
func TestEdge(t *testing.T) {
	cases := []struct {
		name, request string
		status        int
		location      string
		path          string // as the destination saw it
	}{
		{name: "HTTP/1.0", request: "GET / HTTP/1.0\r\nHost: a.foo.com\r\n\r\n", status: http.StatusUpgradeRequired},
		{name: "no host", request: "GET / HTTP/1.1\r\n\r\n", status: http.StatusBadRequest},
		{name: "underscore", request: "GET / HTTP/1.1\r\nHost: a.foo.com\r\nx_user: root\r\n\r\n", status: http.StatusBadRequest},
		{name: "escaped slash", request: "GET /a%2Fb HTTP/1.1\r\nHost: a.foo.com\r\n\r\n", status: http.StatusTemporaryRedirect, location: "/a/b"},
		{name: "escaped backslash", request: "GET /a%5cb HTTP/1.1\r\nHost: a.foo.com\r\n\r\n", status: http.StatusTemporaryRedirect, location: "/a/b"},
		{name: "double slash", request: "GET /a//b HTTP/1.1\r\nHost: a.foo.com\r\n\r\n", status: http.StatusOK, path: "/a/b"},
		{name: "dot segments", request: "GET /a/../b HTTP/1.1\r\nHost: a.foo.com\r\n\r\n", status: http.StatusOK, path: "/b"},
		{name: "absolute form", request: "GET http://A.foo.com:80/b HTTP/1.1\r\nHost: other.org\r\n\r\n", status: http.StatusOK, path: "/b"},
		{
			name:    "100 headers and one",
			request: "GET / HTTP/1.1\r\nHost: a.foo.com\r\n" + strings.Repeat("x: y\r\n", 100) + "\r\n",
			status:  http.StatusRequestHeaderFieldsTooLarge,
		},
		{
			name:    "61 KiB of headers",
			request: "GET / HTTP/1.1\r\nHost: a.foo.com\r\nx: " + strings.Repeat("y", 61<<10) + "\r\n\r\n",
			status:  http.StatusRequestHeaderFieldsTooLarge,
		},
		{name: "connect", request: "CONNECT a.foo.com:443 HTTP/1.1\r\nHost: a.foo.com:443\r\n\r\n", status: http.StatusNotFound},
		{name: "other upgrade", request: upgrade("a.foo.com", "other"), status: http.StatusOK, path: "/"},
		{name: "other upgrade, rewritten", request: upgrade("A.foo.com", "other"), status: http.StatusOK, path: "/"},
		{name: "redirect to https", request: "GET /x HTTP/1.1\r\nHost: secure.foo.com\r\n\r\n", status: http.StatusMovedPermanently, location: "https://secure.foo.com/x"},
		{name: "redirect to https, port 80", request: "GET /x HTTP/1.1\r\nHost: secure.foo.com:80\r\n\r\n", status: http.StatusMovedPermanently, location: "https://secure.foo.com/x"},
		{name: "redirect to https, claimed", request: "GET /x HTTP/1.1\r\nHost: secure.foo.com\r\nx-forwarded-proto: https\r\n\r\n", status: http.StatusMovedPermanently, location: "https://secure.foo.com/x"},
		{name: "redirect to https, rewritten", request: "GET /x HTTP/1.1\r\nHost: Secure.foo.com:8080\r\n\r\n", status: http.StatusMovedPermanently, location: "https://Secure.foo.com:8080/x"},
	}
	eachLayout(t, nil, func(t *testing.T, address string) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				got := raw(t, address, c.request)
				if got.status != c.status {
					t.Fatalf("status %d from %q, want %d", got.status, got.vhost, c.status)
				}
				if location := got.header.Get("Location"); location != c.location {
					t.Errorf("location %q, want %q", location, c.location)
				}
				if c.path != "" && got.seen.Path != c.path {
					t.Errorf("the destination saw path %q, want %q", got.seen.Path, c.path)
				}
				if got.status != http.StatusOK && got.header.Get("Server") != "" {
					t.Errorf("an answer of our own has the server header %q", got.header.Get("Server"))
				}
			})
		}
	})
}

// TestHeaders checks what destinations and clients learn from each other.
func TestHeaders(t *testing.T) {
	eachLayout(t, nil, func(t *testing.T, address string) {
		got := raw(t, address, "GET / HTTP/1.1\r\nHost: a.foo.com\r\n"+
			"x-sluice-scope: http.0/b\r\nX-Sluice-Scope: http.0/c\r\n"+
			"x-request-id: mine\r\nx-forwarded-for: 9.9.9.9\r\nx-forwarded-proto: https\r\n"+
			"x-envoy-retry-on: 5xx\r\nx-envoy-upstream-rq-timeout-ms: 1\r\nx-envoy-internal: true\r\n\r\n")
		if got.status != http.StatusOK || got.vhost != "a.foo.com" {
			t.Fatalf("status %d from %q", got.status, got.vhost)
		}
		want := map[string]string{
			"X-Forwarded-Proto": "http",
			// Envoy's own word for the client's address, like X-Forwarded-For.
			"X-Envoy-External-Address": got.client,
		}
		for name, value := range want {
			if got.seen.Header.Get(name) != value {
				t.Errorf("the destination saw %s %q, want %q", name, got.seen.Header.Get(name), value)
			}
		}
		// Envoy writes the machine's own address for a client on the loopback.
		appended, ok := strings.CutPrefix(got.seen.Header.Get("X-Forwarded-For"), "9.9.9.9,")
		if !ok || net.ParseIP(appended) == nil {
			t.Errorf("the destination saw X-Forwarded-For %q, want the client's address appended", got.seen.Header.Get("X-Forwarded-For"))
		}
		if id := got.seen.Header.Get("X-Request-Id"); len(id) != 36 {
			t.Errorf("the destination saw the request id %q, want a UUID", id)
		}
		for name := range got.seen.Header {
			_, expected := want[name]
			if strings.HasPrefix(name, "X-Envoy-") && !expected || strings.HasPrefix(name, "X-Sluice-") {
				t.Errorf("the destination saw %s: %q", name, got.seen.Header[name])
			}
		}
		if server := got.header.Get("Server"); server != "echo/1" {
			t.Errorf("the client saw the server header %q, want the destination's", server)
		}
		for name := range got.header {
			if strings.HasPrefix(name, "X-Envoy-") {
				t.Errorf("the client saw %s: %q", name, got.header[name])
			}
		}
	})
}

// TestTolerant checks the settings that let old clients in.
func TestTolerant(t *testing.T) {
	tolerant := func(s *model.Settings) {
		s.HTTP10, s.UnderscoreHeaders, s.EscapedSlashes, s.MergeSlashes = true, true, model.EscapedSlashesKeep, false
	}
	eachLayout(t, tolerant, func(t *testing.T, address string) {
		got := raw(t, address, "GET /a%2Fb//c HTTP/1.0\r\nHost: a.foo.com\r\nx_user: root\r\n\r\n")
		if got.status != http.StatusOK || got.vhost != "a.foo.com" || got.seen.Path != "/a%2Fb//c" {
			t.Errorf("status %d from %q, path %q", got.status, got.vhost, got.seen.Path)
		}
		if values := got.seen.Header["X_user"]; len(values) != 1 {
			t.Errorf("the destination did not see x_user: %q", got.seen.Header)
		}
		got = raw(t, address, "GET / HTTP/1.0\r\n\r\n")
		if got.status != http.StatusOK || got.vhost != "*" || got.seen.Host != "default.invalid" {
			t.Errorf("without host: status %d from %q as %q, want 200 from \"*\"", got.status, got.vhost, got.seen.Host)
		}
	})
}

// upgrade is a request to switch to protocol.
func upgrade(host, protocol string) string {
	return "GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: " + protocol + "\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
}

// TestWebSocket opens a WebSocket on the exact path and through the fallback,
// and sends a few bytes there and back.
func TestWebSocket(t *testing.T) {
	eachLayout(t, nil, func(t *testing.T, address string) {
		for _, host := range []string{"a.foo.com", "A.foo.com:8080", "b.foo.com", "other.org"} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, upgrade(host, "websocket")); err != nil {
				t.Fatal(err)
			}
			reader := bufio.NewReader(conn)
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("host %s: status %d, want 101", host, response.StatusCode)
			}
			if _, err := io.WriteString(conn, "ping"); err != nil {
				t.Fatal(err)
			}
			echoed := make([]byte, 4)
			if _, err := io.ReadFull(reader, echoed); err != nil || string(echoed) != "ping" {
				t.Errorf("host %s: got back %q, %v", host, echoed, err)
			}
		}
	})
}

// TestConnectionLimit holds as many connections as a listener may have; the
// next is closed, and one that ends makes room.
func TestConnectionLimit(t *testing.T) {
	limit := func(s *model.Settings) { s.ListenerConnections = 2 }
	eachLayout(t, limit, func(t *testing.T, address string) {
		held := make([]net.Conn, 2)
		for i := range held {
			held[i] = hold(t, address)
			if held[i] == nil {
				t.Fatalf("connection %d of 2 was closed", i+1)
			}
			defer held[i].Close()
		}
		if third := hold(t, address); third != nil {
			third.Close()
			t.Fatal("a third connection got an answer")
		}
		held[0].Close()
		for deadline := time.Now().Add(10 * time.Second); ; {
			if again := hold(t, address); again != nil {
				again.Close()
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("a closed connection made no room in 10 s")
			}
		}
	})
}

// hold opens a connection and keeps it after one answered request; nil if the
// connection was closed instead.
func hold(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a.foo.com\r\n\r\n")
	if err == nil {
		_, err = http.ReadResponse(bufio.NewReader(conn), nil)
	}
	if err == nil {
		return conn
	}
	conn.Close()
	var operation *net.OpError
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &operation) {
		t.Fatal(err)
	}
	return nil
}
