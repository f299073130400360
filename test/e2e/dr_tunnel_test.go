package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// tunnelServer is a proxy that takes CONNECT and POST, remembers what was asked
// for, and brings every connection to one place.
type tunnelServer struct {
	port   int
	target string // address of the place

	mu    sync.Mutex
	asked []string
}

func newTunnelServer(t *testing.T, target int) *tunnelServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tunnelServer{port: portOf(l.Addr()), target: fmt.Sprintf("127.0.0.1:%d", target)}
	s := &http.Server{Handler: p, ReadHeaderTimeout: patience}
	done := make(chan struct{})
	go func() {
		_ = s.Serve(l)
		close(done)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return p
}

func (p *tunnelServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host)
	p.mu.Unlock()
	place, err := net.Dial("tcp", p.target)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer place.Close()
	control := http.NewResponseController(w)
	if r.Method == http.MethodConnect {
		c, in, err := control.Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(place, in)
			place.Close()
		}()
		_, _ = io.Copy(c, place)
		return
	}
	_ = control.EnableFullDuplex()
	w.WriteHeader(http.StatusOK)
	_ = control.Flush()
	go func() {
		_, _ = io.Copy(place, r.Body)
		place.Close()
	}()
	b := make([]byte, 4096)
	for {
		n, err := place.Read(b)
		if err != nil {
			return
		}
		if _, err := w.Write(b[:n]); err != nil || control.Flush() != nil {
			return
		}
	}
}

// last is the newest request.
func (p *tunnelServer) last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asked) == 0 {
		return ""
	}
	return p.asked[len(p.asked)-1]
}

// TCP travels in CONNECT or POST to a target behind a proxy, or as it is.
func TestTunnels(t *testing.T) {
	t.Parallel()
	place := newLineServer(t, "place", nil)
	proxy := newTunnelServer(t, place.port)
	policies := map[string]string{
		"connect": "{tunnel: {protocol: CONNECT, targetHost: far.internal, targetPort: 7777}}",
		"default": "{tunnel: {targetHost: near.internal, targetPort: 7778}}",
		"post":    "{tunnel: {protocol: POST, targetHost: post.internal, targetPort: 7779}}",
	}
	ports, files := map[string]int{"none": freePort(t)}, map[string]string{}
	for name := range policies {
		ports[name] = freePort(t)
	}
	var servers []string
	for name, port := range ports {
		host := name + ".internal"
		servers = append(servers, server(port, "TCP", ", hosts: ['*']"))
		to := &lineServer{port: proxy.port}
		if name == "none" {
			to = place
		}
		files[name+".yaml"] = lines(host, to) + "---\n" + streams(name, "*", fmt.Sprintf("  tcp:\n  - {match: [{port: %d}], route: [{destination: {host: %s}}]}\n", port, host))
		if policy := policies[name]; policy != "" {
			files[name+".yaml"] += "---\n" + rule(host, "  trafficPolicy: "+policy+"\n")
		}
	}
	files["gateway.yaml"] = l4("", servers...)
	w := newWorld(t, files).run().settled()
	w.flawless()
	w.hears(dialing{port: ports["none"]}, "place")
	if got := proxy.last(); got != "" {
		t.Errorf("without a tunnel the proxy is asked for %q", got)
	}
	for _, c := range []struct{ name, want string }{
		{"connect", "CONNECT far.internal:7777"},
		{"default", "CONNECT near.internal:7778"},
		{"post", "POST post.internal:7779"},
	} {
		w.hears(dialing{port: ports[c.name]}, "place")
		if got := proxy.last(); got != c.want {
			t.Errorf("%s: the proxy is asked for %q, want %q", c.name, got, c.want)
		}
	}
}
