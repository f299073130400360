package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What a client may not say, byte for byte, whatever the layout of the routes.

// listening is a server that answers ok to whatever it hears, and the port where
// it is. It hears a request until "x-end", which every request of these tests has
// in its last line.
func listening(t *testing.T) (port int, heard chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heard = make(chan string, 1024)
	serveConns(t, l, func(c net.Conn) {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		var text bytes.Buffer
		for part := make([]byte, 4096); !bytes.Contains(text.Bytes(), []byte("x-end")); {
			n, err := c.Read(part)
			text.Write(part[:n])
			if err != nil {
				return
			}
		}
		heard <- text.String()
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
	})
	return portOf(l.Addr()), heard
}

// inBothLayouts runs a test with few hosts and with as many as need tables of their own.
func inBothLayouts(t *testing.T, test func(w *world, heard chan string)) {
	for name, hosts := range map[string]int{"few hosts": 0, "many hosts": 260} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port, heard := listening(t)
			w := newWorld(t, map[string]string{
				"gateway.yaml": edge("*"), "all.yaml": reached("all", []*origin{{port: port}}, ""),
				"many.yaml": village(hosts, "all.internal"),
			}).run().settled()
			test(w, heard)
		})
	}
}

// answered is the status that a request is answered with.
func answered(t *testing.T, port int, request string) int {
	t.Helper()
	c, err := dialing{port: port, first: request}.open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	code := 0
	line, err := bufio.NewReader(c).ReadString('\n')
	if _, bad := fmt.Sscanf(line, "HTTP/1.1 %d ", &code); bad != nil {
		t.Fatalf("%q is answered %q %v", request, line, err)
	}
	return code
}

// Servers that drop ";" and what follows it take such paths for others.
func TestPathsThatHideASegment(t *testing.T) {
	t.Parallel()
	hidden := []string{
		"/x/%2e%2e;/admin", "/x/.%2E;a=b/admin", "/%2e;/admin", "/;a/admin", "/x/;/admin", "/x/..%3b/admin", "/x/%3B/admin", "/x/;a/",
	}
	// What the proxy itself takes for a dot segment is resolved before any rule.
	resolved := map[string]string{"/x/..;/admin": "/admin", "/.;/admin": "/admin", "/x/..;": "/", "/x/..;a?q": "/?q", "//x//..;/admin": "/x/admin"}
	plain := []string{
		"/a;v=1/b", "/;jsessionid=1", "/a;jsessionid=1", "/a/b;c", "/a..;b/c", "/x?a=/..;/admin", "/x?;/;/a", "/...;/x", "/a%3Bb/c",
	}
	get := func(path string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: all.test\r\nConnection: close\r\nx-end: 1\r\n\r\n"
	}
	inBothLayouts(t, func(w *world, heard chan string) {
		check := func(when string, code int, paths ...string) {
			w.t.Helper()
			for _, path := range paths {
				if got := answered(w.t, w.port, get(path)); got != code {
					w.t.Errorf("%s: %s is answered %d, want %d", when, path, got, code)
				}
			}
		}
		becomes := func(spec string, code int, path string) {
			w.t.Helper()
			w.write("settings.yaml", settings(spec))
			w.wait()
			w.eventually(spec, func() error {
				if got := answered(w.t, w.port, get(path)); got != code {
					return fmt.Errorf("%s is answered %d, want %d", path, got, code)
				}
				return nil
			})
		}
		check("by default", http.StatusBadRequest, hidden...)
		check("by default", http.StatusOK, plain...)
		for len(heard) > 0 {
			<-heard
		}
		for path, want := range resolved {
			check("by default", http.StatusOK, path)
			if got := <-heard; !strings.HasPrefix(got, "GET "+want+" ") {
				w.t.Errorf("of %s the server hears %q", path, got)
			}
		}
		becomes("{pathParameters: Reject}", http.StatusBadRequest, "/a;v=1/b")
		check("Reject", http.StatusBadRequest, hidden...)
		check("Reject", http.StatusBadRequest, "/;jsessionid=1", "/a%3Bb/c")
		check("Reject", http.StatusOK, "/x?a=/..;/admin", "/x")
		becomes("{pathParameters: Keep}", http.StatusOK, "/a;v=1/b")
		check("Keep", http.StatusOK, hidden...)
	})
}

// Trailers are read after the headers were believed; a server that merges them
// would believe these too.
func TestTrailersThatStandForHeaders(t *testing.T) {
	t.Parallel()
	head := "POST / HTTP/1.1\r\nHost: all.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
	dropped := []string{
		"host", "content-length", "transfer-encoding", "x-forwarded-client-cert", "x-sluice-scope", "x-forwarded-for", "authorization", "cookie",
	}
	inBothLayouts(t, func(w *world, heard chan string) {
		text := head
		for _, name := range dropped {
			text += name + ": 7\r\n"
		}
		if got := answered(w.t, w.port, text+"x-mine: 1\r\nx-end: 1\r\n\r\n"); got != http.StatusOK {
			w.t.Fatalf("trailers are answered %d", got)
		}
		_, trailers, _ := strings.Cut(<-heard, "\r\n0\r\n")
		if !strings.HasPrefix(trailers, "x-mine: 1\r\nx-end: 1\r\n") {
			w.t.Errorf("the server hears the trailers %q", trailers)
		}
	})
}

// What proxies say to each other, a client cannot.
func TestHeadersOfProxies(t *testing.T) {
	t.Parallel()
	names := []string{
		"x-envoy-original-dst-host", "x-envoy-attempt-count", "x-envoy-retry-on", "x-envoy-upstream-rq-timeout-ms", "x-envoy-force-trace",
		"x-envoy-internal", "x-envoy-decorator-operation", "x-envoy-original-path", "x-sluice-scope", "x-forwarded-client-cert",
	}
	inBothLayouts(t, func(w *world, heard chan string) {
		text := "GET / HTTP/1.1\r\nHost: all.test\r\nConnection: close\r\n"
		for _, name := range names {
			text += name + ": 127.0.0.1:77\r\n"
		}
		if got := answered(w.t, w.port, text+"x-mine: 1\r\nx-end: 1\r\n\r\n"); got != http.StatusOK {
			w.t.Fatalf("the request is answered %d", got)
		}
		got := <-heard
		if !strings.Contains(got, "x-mine: 1") {
			w.t.Errorf("the server does not hear what the client may say: %q", got)
		}
		for _, name := range names {
			if strings.Contains(strings.ToLower(got), name) {
				w.t.Errorf("the server hears %s: %q", name, got)
			}
		}
	})
}

// A request of two hosts is refused.
func TestMalformedHosts(t *testing.T) {
	t.Parallel()
	refused := []string{
		"Host: all.test\r\nHost: other.test", "Host: all.test\r\nHost: all.test", "Host: all.test:80@other.test", "Host: user@all.test",
		"Host: all.test other.test", "Host: all.test/admin", "Host: all.test,other.test", "Host: all.test#x", "Host: all.test?x", "Host: all.test\\x",
	}
	taken := []string{"Host: all.test", "Host: all.test:80", "Host: ALL.test", "Host: all.test:8080"}
	inBothLayouts(t, func(w *world, _ chan string) {
		ask := func(lines string) int {
			w.t.Helper()
			return answered(w.t, w.port, "GET / HTTP/1.1\r\n"+lines+"\r\nConnection: close\r\nx-end: 1\r\n\r\n")
		}
		for _, lines := range refused {
			if got := ask(lines); got != http.StatusBadRequest {
				w.t.Errorf("%q is answered %d", lines, got)
			}
		}
		for _, lines := range taken {
			if got := ask(lines); got != http.StatusOK {
				w.t.Errorf("%q is answered %d", lines, got)
			}
		}
	})
}
