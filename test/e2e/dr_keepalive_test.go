package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The kinds of timer that a TCP socket can have. Source: proc_net_tcp of the
// kernel's documentation.
const (
	timerNone      = "00"
	timerKeepalive = "02"
)

// socket is what the kernel says of an established TCP connection.
type socket struct {
	timer  string
	due    int  // hundredths of a second until the timer ends
	probes int  // sent and not answered
	quiet  bool // nothing is on its way
}

// sockets are the connections to a loopback port, of the side that opened them
// and of the server.
func sockets(t testing.TB, port int) (near, far []socket) {
	t.Helper()
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	server := fmt.Sprintf("0100007F:%04X", port)
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, server) {
			continue
		}
		f := strings.Fields(line)
		const established = "01"
		if len(f) < 10 || f[3] != established {
			continue
		}
		kind, when, _ := strings.Cut(f[5], ":")
		due, err := strconv.ParseInt(when, 16, 64)
		if err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		probes, err := strconv.Atoi(f[8])
		if err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		s := socket{timer: kind, due: int(due), probes: probes, quiet: strings.Trim(f[4], "0:") == ""}
		if f[1] == server {
			far = append(far, s)
		} else {
			near = append(near, s)
		}
	}
	return near, far
}

// atRest waits until the one connection to a port has nothing under way and
// fits, and returns it.
func (w *world) atRest(port int, fits func(socket) bool) (out socket) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("the connection to port %d is at rest", port), func() error {
		near, far := sockets(w.t, port)
		if len(near) != 1 || len(far) != 1 {
			return fmt.Errorf("there are %v and %v", near, far)
		}
		if out = near[0]; !out.quiet || !far[0].quiet || !fits(out) {
			return fmt.Errorf("it is %+v, the server's is %+v", out, far[0])
		}
		return nil
	})
	return out
}

// The kernel probes connections after the time, at the interval, and for as
// many times as the policy says; without it, never.
func TestTCPKeepalive(t *testing.T) {
	t.Parallel()
	const second = 100
	cases := map[string]struct {
		pool     string
		kind     string
		from, to int // when the timer is due, at some time
	}{
		"none":     {"tcp: {connectTimeout: 5s}", timerNone, 0, 0},
		"time":     {"tcp: {tcpKeepalive: {time: 60s}}", timerKeepalive, 20 * second, 60 * second},
		"interval": {"tcp: {tcpKeepalive: {time: 1s, interval: 90s}}", timerKeepalive, 50 * second, 90 * second},
		"system":   {"tcp: {tcpKeepalive: {}}", timerKeepalive, systemTime(t)*second - 60*second, systemTime(t) * second},
		"http2":    {"tcp: {tcpKeepalive: {time: 60s}}, http: {h2UpgradePolicy: UPGRADE}", timerKeepalive, 20 * second, 60 * second},
	}
	servers, files := map[string]*origin{}, map[string]string{"gateway.yaml": edge("*")}
	for name, c := range cases {
		servers[name] = newOrigin(t, name)
		files[name+".yaml"] = reached(name, []*origin{servers[name]}, "{connectionPool: {"+c.pool+"}}")
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	for name := range cases {
		w.spread(query{host: name + ".test"}, 1)
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w.in(t).atRest(servers[name].port, func(s socket) bool { return s.timer == c.kind && s.due >= c.from && s.due <= c.to })
		})
	}
	// Where nobody asks for it there is none at the end either.
	if s, _ := sockets(t, servers["none"].port); len(s) != 1 || s[0].timer != timerNone {
		t.Errorf("without the field the connections are %+v", s)
	}
}

// systemTime is the time of the machine, in seconds, for sockets that have none
// of their own.
func systemTime(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_keepalive_time")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A server that vanishes without a word is given up after the probes of the
// policy; without them nobody notices.
func TestTCPKeepaliveGivesUp(t *testing.T) {
	t.Parallel()
	probed, unprobed := newFadingServer(t, "probed"), newFadingServer(t, "unprobed")
	w := newWorld(t, map[string]string{
		"gateway.yaml":  edge("*"),
		"probed.yaml":   reached("probed", []*origin{{port: probed.port}}, "{connectionPool: {tcp: {tcpKeepalive: {time: 1s, interval: 1s, probes: 2}}}}"),
		"unprobed.yaml": reached("unprobed", []*origin{{port: unprobed.port}}, "{connectionPool: {tcp: {connectTimeout: 5s}}}"),
	}).run().settled()
	w.flawless()
	for _, s := range []*fadingServer{probed, unprobed} {
		w.answersNow(s.name+".test", "/", http.StatusOK, s.name)
		w.atRest(s.port, func(socket) bool { return true })
		s.fade()
	}
	most := 0
	w.eventually("the connection is given up", func() error {
		left, _ := sockets(t, probed.port)
		for _, s := range left {
			most = max(most, s.probes)
		}
		if len(left) > 0 {
			return fmt.Errorf("it is %+v", left)
		}
		return nil
	})
	if most > 2 {
		t.Errorf("%d probes are sent, want 2", most)
	}
	if left, _ := sockets(t, unprobed.port); len(left) != 1 || left[0].timer != timerNone || left[0].probes != 0 {
		t.Errorf("the connection that nobody probes is %+v", left)
	}
	// The next request finds out by a new connection.
	w.answersNow("probed.test", "/", http.StatusOK, "probed")
}

// fadingServer answers each connection's first request and can then become deaf
// to it, as if its machine had lost power: what arrives is not even
// acknowledged.
type fadingServer struct {
	t    *testing.T
	name string
	port int
	open chan *net.TCPConn
}

func newFadingServer(t *testing.T, name string) *fadingServer {
	t.Helper()
	quiet := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: false}, KeepAlive: -1}
	l, err := quiet.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fadingServer{t: t, name: name, port: portOf(l.Addr()), open: make(chan *net.TCPConn, 64)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.open <- c.(*net.TCPConn)
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(name), name)
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		close(s.open)
		for c := range s.open {
			c.Close()
		}
	})
	return s
}

// fade makes the oldest connection deaf.
func (s *fadingServer) fade() {
	s.t.Helper()
	c := <-s.open
	s.t.Cleanup(func() { c.Close() })
	raw, err := c.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	dropAll := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &dropAll})
	}); err != nil || failed != nil {
		s.t.Fatal(err, failed)
	}
}
