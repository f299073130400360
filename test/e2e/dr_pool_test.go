package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// crowd sends requests for /block at a time and returns what they are answered,
// those of n that are let through last.
type crowd struct {
	mu      sync.Mutex
	codes   []int
	bodies  []string
	running sync.WaitGroup
}

func (c *crowd) send(w *world, host string) { c.ask(w, query{host: host, path: "/block"}) }

// ask sends any request and does not wait for the answer.
func (c *crowd) ask(w *world, q query) {
	c.running.Go(func() {
		r, err := w.do(q)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil {
			r.body = err.Error()
		}
		c.codes, c.bodies = append(c.codes, r.code), append(c.bodies, r.body)
	})
}

func (c *crowd) answered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.codes)
}

func (c *crowd) count(code int) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, have := range c.codes {
		if have == code {
			n++
		}
	}
	return n
}

// Limits turn away what is beyond them, at once, and nothing else.
func TestPoolLimits(t *testing.T) {
	t.Parallel()
	const sent = 6
	files := map[string]string{"gateway.yaml": edge("*")}
	cases := map[string]struct {
		policy string
		passed int // of the requests sent
	}{
		"none":     {"", sent},
		"pending":  {"{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}", 2},
		"wide":     {"{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 100}}}", sent},
		"requests": {"{connectionPool: {http: {h2UpgradePolicy: UPGRADE, http2MaxRequests: 2}}}", 2},
		"streams":  {"{connectionPool: {http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 1}}}", sent},
	}
	servers := map[string]*origin{}
	for name, c := range cases {
		servers[name] = newOrigin(t, name)
		files[name+".yaml"] = reached(name, []*origin{servers[name]}, c.policy)
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			var all crowd
			all.send(w, name+".test")
			w.eventually("the first request arrives", func() error {
				if servers[name].asked("/block") == 0 {
					return errNot("arrived")
				}
				return nil
			})
			for range sent - 1 {
				all.send(w, name+".test")
			}
			w.eventually("the others are turned away", func() error {
				if got := all.answered(); got != sent-c.passed {
					return fmt.Errorf("%d are answered", got)
				}
				return nil
			})
			servers[name].release()
			all.running.Wait()
			if ok, refused := all.count(http.StatusOK), all.count(http.StatusServiceUnavailable); ok != c.passed || refused != sent-c.passed {
				t.Errorf("answers are %v, want %d of %d: %q", all.codes, c.passed, sent, all.bodies)
			}
		})
	}
	if all, _ := servers["streams"].connections(); all < sent/2 {
		t.Errorf("with one stream each, %d requests shared %d connections", sent, all)
	}
	if all, _ := servers["requests"].connections(); all != 1 {
		t.Errorf("HTTP/2 used %d connections", all)
	}
}

// Connections live as long as the policy says.
func TestPoolLifetimes(t *testing.T) {
	t.Parallel()
	files := map[string]string{"gateway.yaml": edge("*")}
	servers := map[string]*origin{}
	for name, pool := range map[string]string{
		"kept":     "http: {maxRetries: 3}",
		"one":      "http: {maxRequestsPerConnection: 1}",
		"idle":     "http: {idleTimeout: 200ms}",
		"duration": "tcp: {maxConnectionDuration: 300ms}",
		"alive":    "tcp: {tcpKeepalive: {probes: 3, time: 10s, interval: 5s}}, http: {h2UpgradePolicy: UPGRADE, http2KeepAlive: {interval: 200ms, timeout: 5s}}",
	} {
		servers[name] = newOrigin(t, name)
		files[name+".yaml"] = reached(name, []*origin{servers[name]}, "{connectionPool: {"+pool+"}}")
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	for name := range servers {
		w.spread(query{host: name + ".test"}, 5)
	}
	if all, open := servers["kept"].connections(); all != 1 || open != 1 {
		t.Errorf("5 requests in turn used %d connections, %d are open", all, open)
	}
	if all, _ := servers["one"].connections(); all != 5 {
		t.Errorf("5 requests used %d connections, want one each", all)
	}
	for _, name := range []string{"idle", "duration"} {
		w.eventually(name+" ends the connection", func() error {
			if _, open := servers[name].connections(); open > 0 {
				return fmt.Errorf("%d are open", open)
			}
			return nil
		})
		w.spread(query{host: name + ".test"}, 1)
		if all, _ := servers[name].connections(); all < 2 {
			t.Errorf("%s: there are %d connections after the first has ended", name, all)
		}
	}
	for _, name := range []string{"kept", "alive"} {
		if all, open := servers[name].connections(); all != 1 || open != 1 {
			t.Errorf("%s: of %d connections %d are open at the end", name, all, open)
		}
	}
}

// Which version of HTTP the server is spoken to in.
func TestUpgradePolicies(t *testing.T) {
	t.Parallel()
	server := newOrigin(t, "o")
	files := map[string]string{"gateway.yaml": edge("*")}
	cases := []struct{ name, http, one, two string }{
		{"default", "h2UpgradePolicy: DEFAULT", "HTTP/1.1", "HTTP/1.1"},
		{"never", "h2UpgradePolicy: DO_NOT_UPGRADE", "HTTP/1.1", "HTTP/1.1"},
		{"always", "h2UpgradePolicy: UPGRADE", "HTTP/2.0", "HTTP/2.0"},
		{"client", "useClientProtocol: true", "HTTP/1.1", "HTTP/2.0"},
	}
	for _, c := range cases {
		files[c.name+".yaml"] = reached(c.name, []*origin{server}, "{connectionPool: {http: {"+c.http+"}}}")
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	for _, c := range cases {
		w.expect([]outcome{
			{name: c.name + " from HTTP/1.1", query: query{host: c.name + ".test"}, body: "proto: " + c.one + "\n"},
			{name: c.name + " from HTTP/2", query: query{host: c.name + ".test", h2: true}, body: "proto: " + c.two + "\n"},
		})
	}
}

// A server that never takes a connection costs the connect timeout and no more.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	full := fullServer(t)
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"),
		"full.yaml":    strings.Replace(reached("full", []*origin{{port: full}}, "{connectionPool: {tcp: {connectTimeout: 200ms}}}"), "http:\n  - route", "http:\n  - retries: {attempts: 0}\n    route", 1),
	}).run().settled()
	w.expect([]outcome{{query: query{host: "full.test"}, code: 503, body: "timeout"}})
}

// boundPort takes a port of its own and does not listen on it: connections are
// refused, and nobody else gets the port meanwhile.
func boundPort(t *testing.T) (fd, port int) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, at.(*syscall.SockaddrInet4).Port
}

// fullServer is a port whose queue of new connections is full.
func fullServer(t *testing.T) int {
	t.Helper()
	fd, port := boundPort(t)
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return port
}

// A server that fails is left alone for a while, then asked again; without
// outlier detection it never is.
func TestOutliers(t *testing.T) {
	t.Parallel()
	groups := map[string][]*origin{}
	files := map[string]string{"gateway.yaml": edge("*")}
	for name, policy := range map[string]string{
		"ejects": "{" + ejecting + "}",
		"codes":  "{outlierDetection: {consecutiveGatewayErrors: 1, consecutive5xxErrors: 0, interval: 100ms, baseEjectionTime: 1s, maxEjectionPercent: 100}}",
		"split":  "{outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 1, consecutive5xxErrors: 1, interval: 100ms, baseEjectionTime: 1s, maxEjectionPercent: 100, minHealthPercent: 0}}",
		"keeps":  "{loadBalancer: {simple: ROUND_ROBIN}}",
	} {
		groups[name] = origins(t, name, 2)
		files[name+".yaml"] = reached(name, groups[name], policy)
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	for name, servers := range groups {
		servers[0].setSick(true)
		q := query{host: name + ".test"}
		if name == "keeps" {
			failed := 0
			for range 20 {
				if r := w.must(q); r.code != http.StatusOK {
					failed++
				}
			}
			if failed != 10 {
				t.Errorf("%d of 20 requests failed, want each second", failed)
			}
			continue
		}
		w.only(q, servers[1].name)
		servers[0].setSick(false)
		w.eventually(name+": the server comes back", func() error {
			if r, err := w.do(q); err != nil || r.name() != servers[0].name {
				return fmt.Errorf("%q answers %w", r.line(), err)
			}
			return nil
		})
	}
}
