package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

func TestAnswers(t *testing.T) {
	server := httptest.NewServer(newBackend("shop-v1", false).routes())
	defer server.Close()
	for _, c := range []struct {
		path string
		code int
	}{
		{"/cart?n=1", 200},
		{"/status/503", 503},
		{"/status/204", 204},
		{"/status/99", 400},
		{"/status/many", 400},
		{"/slow?d=1ms", 200},
		{"/slow?d=2h", 400},
		{"/slow", 400},
	} {
		t.Run(c.path, func(t *testing.T) {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+c.path, nil)
			req.Host = "shop.example.com"
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if resp.StatusCode != c.code {
				t.Fatalf("got %d, want %d", resp.StatusCode, c.code)
			}
			if c.code != 200 {
				return
			}
			var a answer
			if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
				t.Fatal(err)
			}
			if a.Backend != "shop-v1" || a.Host != "shop.example.com" || a.Path != c.path || a.Method != "GET" {
				t.Errorf("answer is %+v", a)
			}
		})
	}
}

func TestSpeaksHTTP2WithoutTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(newBackend("a", false).routes())
	server.Config.Protocols = plainProtocols()
	server.Start()
	defer server.Close()
	only2 := new(http.Protocols)
	only2.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: only2}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.ProtoMajor != 2 {
		t.Errorf("spoke %s", resp.Proto)
	}
}

func TestEcho(t *testing.T) {
	server := httptest.NewServer(newBackend("a", false).routes())
	defer server.Close()
	resp, err := http.Post(server.URL+"/echo", "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if string(body) != "hello" {
		t.Errorf("echoed %q", body)
	}
	conn, err := websocket.Dial("ws"+strings.TrimPrefix(server.URL, "http")+"/echo", "", "http://any.test")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write([]byte("ping"))
	got := make([]byte, 4)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "ping" {
		t.Errorf("echoed %q, %v", got, err)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		args string
		want string // part of the error, "" for none
	}{
		{"--listen a=127.0.0.1:1", ""},
		{"--listen a=127.0.0.1:1 -- sluice run --admin x DIR", ""},
		{"", "no --listen"},
		{"--listen-tcp a=127.0.0.1:1 --listen-failing b=127.0.0.1:2", ""},
		{"--dial 127.0.0.1:1", ""},
		{"--listen 127.0.0.1:1", "not name=host:port"},
		{"--listen-tcp =127.0.0.1:1", "not name=host:port"},
		{"--listen a=127.0.0.1", "missing port"},
	} {
		o, err := parse(strings.Fields(c.args), io.Discard)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.args, err, c.want)
		}
		if strings.Contains(c.args, "--admin") && strings.Join(o.command, " ") != "sluice run --admin x DIR" {
			t.Errorf("command is %q", o.command)
		}
	}
}

func TestCommandGivesTheExitCode(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137} {
		var out syncBuffer
		args := []string{"--listen", "a=127.0.0.1:0", "--", "sh", "-c", script}
		if got := run(t.Context(), args, &out, &out); got != want {
			t.Errorf("%q: exit code %d, want %d; output: %s", script, got, want, out.String())
		}
	}
	var out syncBuffer
	if got := run(t.Context(), []string{"--listen", "a=127.0.0.1:0", "--", "/no/such/program"}, &out, &out); got != 1 {
		t.Errorf("missing program: exit code %d", got)
	}
}

// The command sees one SIGTERM when this program is asked to stop, and what is
// printed waits for readiness.
func TestStopReachesTheCommandOnce(t *testing.T) {
	gate := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer gate.Close()
	text := filepath.Join(t.TempDir(), "try.txt")
	if err := os.WriteFile(text, []byte("try this\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out syncBuffer
	out.seen = func(s string) {
		if strings.Contains(s, "up\n") && strings.Contains(s, "try this\n") {
			cancel()
		}
	}
	args := []string{
		"--listen", "a=127.0.0.1:0", "--ready", gate.URL, "--print", text, "--",
		"sh", "-c", `trap 'echo term; exit 3' TERM; echo up; while :; do sleep 0.05; done`,
	}
	done := make(chan int, 1)
	go func() { done <- run(ctx, args, &out, &out) }()
	select {
	case code := <-done:
		if code != 3 || strings.Count(out.String(), "term\n") != 1 {
			t.Errorf("exit code %d; output: %s", code, out.String())
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("never ended; output: %s", out.String())
	}
}

func TestFailingServerFailsAndCounts(t *testing.T) {
	server := httptest.NewServer(newBackend("a", true).routes())
	defer server.Close()
	get := func(path string) (int, string) {
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	for _, path := range []string{"/", "/echo"} {
		if code, _ := get(path); code != 503 {
			t.Errorf("%s answers %d", path, code)
		}
	}
	for range 2 { // asking does not count
		if code, body := get("/count"); code != 200 || body != "2\n" {
			t.Errorf("the count is %d %q", code, body)
		}
	}
}

func TestLines(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go serveLines(listener, "ledger")
	in := strings.NewReader("one\ntwo\nno end")
	var out syncBuffer
	if err := dialFrom(t.Context(), listener.Addr().String(), in, &out); err != nil {
		t.Fatal(err)
	}
	if want := "ledger one\nledger two\nledger no end\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// syncBuffer is a buffer for several writers; seen is told all of it after
// every write.
type syncBuffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	seen func(string)
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	n, err := s.b.Write(p)
	all := s.b.String()
	s.mu.Unlock()
	if s.seen != nil {
		s.seen(all)
	}
	return n, err
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
