package console

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// guarded serves the admin API on TCP and on a unix socket.
func guarded(t *testing.T, a Access, change func(*http.Server)) (tcp, socket string) {
	t.Helper()
	h := a.Guard(Handler(Sources{
		Ready: func() (bool, string) { return true, "" }, Status: func() any { return "status" }, Metrics: prometheus.NewRegistry(),
		Certificates: func() any { return nil }, Renew: func(context.Context, string) error { return nil },
		Wait: func(ctx context.Context, _ []string) (any, error) {
			select {
			case <-ctx.Done():
				return ctx.Err() == context.DeadlineExceeded, nil
			case <-time.After(time.Minute):
				return false, nil
			}
		},
		Log: slog.New(slog.DiscardHandler),
	}))
	server := NewServer(h)
	if change != nil {
		change(server)
	}
	t.Cleanup(func() { _ = server.Close() })
	socket = filepath.Join(t.TempDir(), "s")
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": socket} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		if network == "tcp" {
			tcp, l = l.Addr().String(), Limit(l)
		}
		go func() { _ = server.Serve(l) }()
	}
	return tcp, socket
}

// asked sends a request and returns the code and the text of the answer.
func asked(t *testing.T, network, address string, r *http.Request) (int, string, http.Header) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func TestAccess(t *testing.T) {
	tcp, socket := guarded(t, Access{Names: []string{"Admin.Test"}, Token: "secret", Address: "127.0.0.1:9900", Remedy: "do this"}, nil)
	_, port, err := net.SplitHostPort(tcp)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		network, method, host, header, value string
		code                                 int
	}{
		{"tcp", "GET", tcp, "", "", 200},
		{"tcp", "GET", "localhost:" + port, "", "", 200},
		{"tcp", "GET", "LOCALHOST.", "", "", 200},
		{"tcp", "GET", "[::1]", "", "", 200},
		{"tcp", "GET", "127.7.7.7:1", "", "", 200},
		{"tcp", "GET", "admin.test:" + port, "", "", 200},
		{"tcp", "GET", "evil.test", "", "", 403},
		{"tcp", "GET", "evil.test:" + port, "", "", 403},
		{"tcp", "GET", "127.0.0.1.evil.test", "", "", 403},
		{"tcp", "GET", "10.1.2.3", "", "", 403},
		{"tcp", "GET", "0.0.0.0:" + port, "", "", 403},
		{"tcp", "HEAD", tcp, "", "", 200},
		{"tcp", "POST", tcp, "", "", 401},
		{"tcp", "POST", "evil.test", "Authorization", "Bearer secret", 403},
		{"tcp", "POST", tcp, "Authorization", "Bearer secret", 200},
		{"tcp", "POST", tcp, "Authorization", "bearer  secret", 200},
		{"tcp", "POST", tcp, "Authorization", "Bearer secre", 401},
		{"tcp", "POST", tcp, "Authorization", "Bearer ", 401},
		{"tcp", "POST", tcp, "Authorization", "secret", 401},
		{"tcp", "DELETE", tcp, "", "", 401},
		{"tcp", "OPTIONS", tcp, "", "", 401},
		{"unix", "GET", "whoever", "", "", 200},
		{"unix", "POST", "whoever", "", "", 200},
		{"unix", "POST", "whoever", "Sec-Fetch-Site", "cross-site", 403},
		{"unix", "POST", "whoever", "Origin", "http://evil.test", 403},
	} {
		address := map[string]string{"tcp": tcp, "unix": socket}[c.network]
		path := "/status"
		if c.method != "GET" && c.method != "HEAD" {
			path = "/certificates/a.test/renew"
		}
		r, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+address+path, nil)
		if c.network == "unix" {
			r, err = http.NewRequestWithContext(t.Context(), c.method, "http://sluice"+path, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		r.Host = c.host
		if c.header != "" {
			r.Header.Set(c.header, c.value)
		}
		code, body, h := asked(t, c.network, address, r)
		if code != c.code {
			t.Errorf("%s %s as %q with %q: %d %s, want %d", c.network, c.method, c.host, c.value, code, body, c.code)
		}
		if told := h.Get(AddressHeader); (told == "127.0.0.1:9900") != (c.network == "unix") {
			t.Errorf("over %s the address is told as %q", c.network, told)
		}
		if code == 401 && !strings.Contains(body, "do this") {
			t.Errorf("no remedy: %s", body)
		}
	}
}

func TestNoTokenLetsNobodyAct(t *testing.T) {
	tcp, _ := guarded(t, Access{}, nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+tcp+"/certificates/a.test/renew", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer ")
	if code, _, _ := asked(t, "tcp", tcp, r); code != http.StatusUnauthorized {
		t.Errorf("an empty token is answered %d", code)
	}
}

// A question that waits is not cut by the time that others have.
func TestWaitOutlivesTheTimeOuts(t *testing.T) {
	tcp, _ := guarded(t, Access{}, func(s *http.Server) { s.ReadTimeout, s.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+tcp+"/wait?timeout=300ms", nil)
	if err != nil {
		t.Fatal(err)
	}
	if code, body, _ := asked(t, "tcp", tcp, r); code != http.StatusOK || strings.TrimSpace(body) != "true" {
		t.Errorf("%d %q, want true: its own time was over", code, body)
	}
}

// Connections that say nothing are closed, and do not keep the owner out.
func TestConnectionsAreBounded(t *testing.T) {
	tcp, socket := guarded(t, Access{}, func(s *http.Server) { s.ReadHeaderTimeout = time.Second })
	for range maxConnections + 1 {
		c, err := net.Dial("tcp", tcp)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	r := func(host string) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/livez", nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	impatient, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if resp, err := http.DefaultClient.Do(r(tcp).WithContext(impatient)); err == nil {
		resp.Body.Close()
		t.Error("one more connection is served at once")
	}
	if code, _, _ := asked(t, "unix", socket, r("sluice")); code != http.StatusOK {
		t.Errorf("the owner gets %d", code)
	}
	if code, _, _ := asked(t, "tcp", tcp, r(tcp)); code != http.StatusOK {
		t.Errorf("when they are closed: %d", code)
	}
}
