package e2e

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// portEcho is a UDP server that answers every datagram with the port that it
// came from.
func portEcho(t *testing.T) (port int) {
	t.Helper()
	echo, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			_, from, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = echo.WriteTo([]byte(itoa(from.(*net.UDPAddr).Port)), from)
		}
	}()
	t.Cleanup(func() {
		echo.Close()
		<-done
	})
	return echo.LocalAddr().(*net.UDPAddr).Port
}

// session returns the port from which the server sees a client's datagram. One
// that is lost is sent again.
func (w *world) session(c net.Conn) (port string) {
	w.t.Helper()
	w.eventually("a datagram is answered", func() error {
		_ = c.SetDeadline(time.Now().Add(time.Second))
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
		b := make([]byte, 100)
		n, err := c.Read(b)
		port = string(b[:n])
		return err
	})
	return port
}

// isOpen reports whether a UDP socket with this port sends to the other.
func isOpen(t *testing.T, port string, to int) bool {
	t.Helper()
	var own int
	if _, err := fmt.Sscan(port, &own); err != nil {
		t.Fatalf("%v in %q", err, port)
	}
	b, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 2 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", own)) && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", to)) {
			return true
		}
	}
	return false
}

// All datagrams of a client go through one session until none came for the idle
// time of the policy; then there is a new one.
func TestUDPSessions(t *testing.T) {
	t.Parallel()
	echo := portEcho(t)
	names := []string{"brief", "long", "default"}
	policies := map[string]string{
		"brief": "{connectionPool: {tcp: {idleTimeout: 300ms}}}",
		"long":  "{connectionPool: {tcp: {idleTimeout: 1h}}}",
	}
	clients, files := map[string]net.Conn{}, map[string]string{}
	var servers []string
	for _, name := range names {
		port, host := freePort(t), name+".internal"
		servers = append(servers, server(port, "UDP", ", hosts: ['*']"))
		files[name+".yaml"] = strings.Replace(fleet(host, []*origin{{port: echo}}), "protocol: HTTP", "protocol: UDP", 1) + "---\n" +
			streams(name, "*", fmt.Sprintf("  tcp:\n  - {match: [{port: %d}], route: [{destination: {host: %s}}]}\n", port, host))
		if policy := policies[name]; policy != "" {
			files[name+".yaml"] += "---\n" + rule(host, "  trafficPolicy: "+policy+"\n")
		}
		c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		clients[name] = c
	}
	files["gateway.yaml"] = l4("", servers...)
	w := newWorld(t, files).run().settled()
	w.unexpectedProblems("Extension")

	first := map[string]string{}
	for _, name := range names {
		first[name] = w.session(clients[name])
	}
	w.eventually("the idle session ends", func() error {
		if isOpen(t, first["brief"], echo) {
			return errNot("ended")
		}
		return nil
	})
	if again := w.session(clients["brief"]); again == first["brief"] {
		t.Errorf("the server sees port %s again after the session has ended", again)
	}
	for _, name := range []string{"long", "default"} {
		if !isOpen(t, first[name], echo) {
			t.Errorf("%s: the session ends before its time", name)
		}
		for range 3 {
			if again := w.session(clients[name]); again != first[name] {
				t.Errorf("%s: the server sees port %s, then %s", name, first[name], again)
			}
		}
	}
	// Another client has a session of its own.
	other, err := net.Dial("udp", clients["long"].RemoteAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	if port := w.session(other); port == first["long"] {
		t.Errorf("two clients share port %s", port)
	}
}
