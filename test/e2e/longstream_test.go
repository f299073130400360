package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// streamServer answers WebSockets with an echo, /events with a stream of
// events, /trailers with trailers and /upload line by line.
func streamServer(t *testing.T, more <-chan struct{}) *origin {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			w.WriteHeader(http.StatusUpgradeRequired)
			return
		}
		c, in, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, in)
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for n := 0; ; n++ {
			fmt.Fprintf(w, "data: %d\n\n", n)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-more:
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "x-sum")
		fmt.Fprintf(w, "%s and %s", b, r.Trailer.Get("x-end"))
		w.Header().Set("x-sum", "42")
	})
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return &origin{name: "stream", port: portOf(s.Listener.Addr())}
}

// Streams flow in both directions at once, are buffered by nobody, and keep
// their trailers.
func TestLongStreams(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	w := newWorld(t, map[string]string{"gateway.yaml": edge("*"), "s.yaml": reached("s", []*origin{streamServer(t, more)}, "")}).run().settled()
	t.Run("websocket", func(t *testing.T) { checkWebSocket(t, w) })
	// An upgrade that nobody serves is ignored, and the request is served (RFC
	// 9110 section 7.8): the server, which sees none, answers that it wants one.
	for _, other := range []string{"other", "TLS/1.2", "h2c", "w", "websock", "websockets", "WebSocke", "TLS/1.2, HTTP/3.0"} {
		t.Run("upgrade to "+other, func(t *testing.T) {
			r := w.in(t).must(query{host: "s.test", path: "/ws", headers: "connection: upgrade\nupgrade: " + other})
			if r.code != http.StatusUpgradeRequired {
				t.Errorf("it answers %d, want what the server says", r.code)
			}
		})
	}
	t.Run("events", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url("/events"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "s.test"
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		in := bufio.NewReader(resp.Body)
		for n := range 3 {
			line, err := in.ReadString('\n')
			if err != nil || line != fmt.Sprintf("data: %d\n", n) {
				t.Fatalf("event %d is %q %v", n, line, err)
			}
			_, _ = in.ReadString('\n')
			more <- struct{}{} // only now there is a next one
		}
	})
	t.Run("trailers", func(t *testing.T) { checkTrailers(t, w) })
}

func checkWebSocket(t *testing.T, w *world) {
	c, err := dialing{port: w.port}.open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: s.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade is answered %v %v", resp, err)
	}
	for n := range 3 {
		text := fmt.Sprintf("frame %d\n", n)
		_, _ = io.WriteString(c, text)
		if got, err := in.ReadString('\n'); err != nil || got != text {
			t.Errorf("the echo is %q %v, want %q", got, err, text)
		}
	}
}

func checkTrailers(t *testing.T, w *world) {
	c, err := dialing{port: w.port}.open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "POST /trailers HTTP/1.1\r\nHost: s.test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n4\r\nbody\r\n0\r\nx-end: over\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "body and over" || resp.Trailer.Get("x-sum") != "42" {
		t.Errorf("it answers %q with trailers %v %v", body, resp.Trailer, err)
	}
}

// healthServer is a gRPC server of the health service.
func healthServer(t *testing.T) (*health.Server, *origin) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, h := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(s, h)
	done := make(chan struct{})
	go func() {
		_ = s.Serve(l)
		close(done)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return h, &origin{name: "health", port: portOf(l.Addr())}
}

// gRPC keeps its messages, its stream and its status; browsers speak it in
// gRPC-Web on a port of that protocol, and on no other.
func TestGRPC(t *testing.T) {
	t.Parallel()
	h, o := healthServer(t)
	web := freePort(t)
	both := strings.Replace(gateway("edge", "*"), "  servers:\n", "  servers:\n"+server(web, "GRPC-WEB", ", hosts: ['*']"), 1)
	w := newWorld(t, map[string]string{
		"gateway.yaml": both,
		"h.yaml":       strings.Replace(reached("h", []*origin{o}, ""), "name: http, protocol: HTTP", "name: http, protocol: GRPC", 1),
	}).run().settled()
	w.flawless()
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", w.port), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("h.test"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := grpc_health_v1.NewHealthClient(conn)
	if r, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("check answers %v %v", r, err)
	}
	if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "nobody"}); status.Code(err) != codes.NotFound {
		t.Errorf("check of an unknown service answers %v, want NotFound", err)
	}
	watch, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: "s"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{3, 2, 1} { // unknown, not serving, serving
		if i > 0 {
			h.SetServingStatus("s", want)
		}
		if r, err := watch.Recv(); err != nil || r.GetStatus() != want {
			t.Fatalf("message %d is %v %v, want %v", i, r, err, want)
		}
	}
	checkGRPCWeb(t, w, web)
}

func checkGRPCWeb(t *testing.T, w *world, port int) {
	t.Helper()
	message, err := proto.Marshal(&grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	frame := []byte{0, 0, 0, 0, byte(len(message))}
	q := query{
		method: http.MethodPost, host: "h.test", path: "/grpc.health.v1.Health/Check", body: string(append(frame, message...)),
		headers: "content-type: application/grpc-web+proto\nx-grpc-web: 1",
	}
	r := w.elsewhere(port).must(q)
	if r.code != http.StatusOK || r.header.Get("content-type") != "application/grpc-web+proto" ||
		!bytes.Contains([]byte(r.body), []byte("grpc-status:0")) || !strings.HasPrefix(r.body, "\x00\x00\x00\x00\x02\x08\x01\x80") {
		t.Errorf("gRPC-Web is answered %d %v %q", r.code, r.header, r.body)
	}
	if r := w.must(q); strings.Contains(r.body, "grpc-status:0") {
		t.Errorf("a port of protocol HTTP translates gRPC-Web: %q", r.body)
	}
}

// raw sends text and returns the whole answer.
func raw(t *testing.T, port int, text string) string {
	t.Helper()
	c, err := dialing{port: port}.open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, text)
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// HTTP/1.0 and the case of headers are for those who ask for them.
func TestOldHTTP(t *testing.T) {
	t.Parallel()
	heard := make(chan string, 16)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			head := make([]byte, 4096)
			n, _ := c.Read(head)
			heard <- string(head[:n])
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-AnSwer: old\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
			c.Close()
		}
	}()
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"), "old.yaml": reached("old", []*origin{{port: portOf(l.Addr())}}, ""),
	}).run().settled()
	const old = "GET / HTTP/1.0\r\nHost: old.test\r\n\r\n"
	const cased = "GET / HTTP/1.1\r\nHost: old.test\r\nX-CuStOm: a\r\nConnection: close\r\n\r\n"
	if got := raw(t, w.port, old); !strings.HasPrefix(got, "HTTP/1.1 426 ") {
		t.Errorf("HTTP/1.0 is answered %q", got)
	}
	if got := raw(t, w.port, cased); !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.Contains(got, "x-answer: old") {
		t.Errorf("it answers %q", got)
	}
	if got := <-heard; !strings.Contains(got, "x-custom: a") {
		t.Errorf("the server hears %q", got)
	}
	w.write("settings.yaml", settings("{http10: true, keepHeaderCase: true}"))
	w.wait()
	w.eventually("HTTP/1.0 is taken", func() error {
		if got := raw(t, w.port, old); !strings.HasPrefix(got, "HTTP/1.0 200 ") && !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			return errNot(got)
		}
		return nil
	})
	for len(heard) > 0 {
		<-heard
	}
	if got := raw(t, w.port, cased); !strings.Contains(got, "X-AnSwer: old") {
		t.Errorf("it answers %q", got)
	}
	if got := <-heard; !strings.Contains(got, "X-CuStOm: a") {
		t.Errorf("the server hears %q", got)
	}
}
