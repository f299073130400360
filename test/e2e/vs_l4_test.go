package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// server is one server of a gateway, in flow style.
func server(port int, protocol, more string) string {
	return fmt.Sprintf("  - {port: {number: %d, name: p%d, protocol: %s}, bind: 127.0.0.1%s}\n", port, port, protocol, more)
}

// l4 is a gateway of servers, with more metadata.
func l4(metadata string, servers ...string) string {
	return "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: l4" + metadata + "}\nspec:\n  servers:\n" + strings.Join(servers, "")
}

// streams is a virtual service of connections behind l4.
func streams(name, host, rules string) string {
	return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: " + name + "}\nspec:\n  hosts: [\"" + host + "\"]\n  gateways: [l4]\n" + rules
}

// lines is a static service of TCP ports.
func lines(host string, servers ...*lineServer) string {
	var at []*origin
	for _, s := range servers {
		at = append(at, &origin{name: s.name, port: s.port})
	}
	return strings.Replace(fleet(host, at), "name: http, protocol: HTTP", "name: http, protocol: TCP", 1)
}

// TCP goes by port, by weight and by the client's subnet.
func TestTCP(t *testing.T) {
	t.Parallel()
	var ports [6]int
	for i := range ports {
		ports[i] = freePort(t)
	}
	a, b := newLineServer(t, "a", nil), newLineServer(t, "b", nil)
	tcp := func(port int) string { return server(port, "TCP", ", hosts: ['*']") }
	rules := fmt.Sprintf(`  tcp:
  - {match: [{port: %d}], route: [{destination: {host: a.internal}}]}
  - {match: [{port: %d}], route: [{destination: {host: b.internal}}]}
  - {match: [{port: %d}], route: [{destination: {host: a.internal}, weight: 75}, {destination: {host: b.internal}, weight: 25}]}
  - {match: [{port: %d, sourceSubnet: 127.0.0.5/32}], route: [{destination: {host: b.internal}}]}
  - {match: [{port: %d}], route: [{destination: {host: a.internal}}]}
  - {match: [{port: %d, sourceSubnet: 127.0.0.5/32}], route: [{destination: {host: a.internal}}]}
`, ports[0], ports[1], ports[2], ports[3], ports[3], ports[4])
	w := newWorld(t, map[string]string{
		"gateway.yaml": l4("", tcp(ports[0]), tcp(ports[1]), tcp(ports[2]), tcp(ports[3]), tcp(ports[4]), tcp(ports[5])),
		"a.yaml":       lines("a.internal", a), "b.yaml": lines("b.internal", b),
		"tcp.yaml": streams("tcp", "*", rules),
		"idle.yaml": streams("idle", "*", fmt.Sprintf("  tcp:\n  - {match: [{port: %d}], route: [{destination: {host: idle.internal}}]}\n", ports[5])) + "---\n" +
			lines("idle.internal", a) + "---\n" + rule("idle.internal", "  trafficPolicy: {connectionPool: {tcp: {idleTimeout: 300ms}}}\n"),
	}).run().settled()
	w.flawless()
	w.hears(dialing{port: ports[0]}, "a")
	w.hears(dialing{port: ports[1]}, "b")
	w.hears(dialing{port: ports[3], from: "127.0.0.5"}, "b")
	w.hears(dialing{port: ports[3]}, "a")
	w.hears(dialing{port: ports[4], from: "127.0.0.5"}, "a")
	w.hears(dialing{port: ports[4]}, "")
	const n = 200
	second := 0
	for range n {
		answer, err := dialing{port: ports[2]}.say("hello")
		if err != nil {
			t.Fatal(err)
		}
		if answer == "b hello" {
			second++
		}
	}
	// 50 are expected, with a standard deviation of 6.
	if second < 20 || second > 85 {
		t.Errorf("%d of %d connections went to the weight of 25", second, n)
	}
	checkIdle(t, ports[5], ports[0])
	// A server that goes closes its port and no other.
	w.write("gateway.yaml", l4("", tcp(ports[1]), tcp(ports[3])))
	w.eventually("the port is closed", func() error {
		if _, err := (dialing{port: ports[0]}).say("hello"); err == nil {
			return errNot("closed")
		}
		return nil
	})
	w.hears(dialing{port: ports[1]}, "b")
}

// checkIdle expects a silent connection to the first port to be closed, and one
// to the second port to outlive it.
func checkIdle(t *testing.T, closes, stays int) {
	t.Helper()
	var conns [2]net.Conn
	for i, port := range []int{closes, stays} {
		c, err := dialing{port: port}.open()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if answer, err := say(c, "hello"); err != nil || answer != "a hello" {
			t.Fatalf("%q %v", answer, err)
		}
		conns[i] = c
	}
	began := time.Now()
	if _, err := conns[0].Read(make([]byte, 1)); err == nil || time.Since(began) >= patience {
		t.Errorf("the idle connection ends with %v after %v", err, time.Since(began))
	}
	if answer, err := say(conns[1], "again"); err != nil || answer != "a again" {
		t.Errorf("the other connection ends too: %q %v", answer, err)
	}
}

// TLS goes by its server name and is not opened on the way.
func TestPassthrough(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	secure := func(name string) *lineServer {
		return newLineServer(t, name, &tls.Config{Certificates: []tls.Certificate{ca.issue(name + ".test").Certificate}})
	}
	exact, wild, rest := secure("exact"), secure("wild"), secure("rest")
	port, other := freePort(t), freePort(t)
	pass := ", tls: {mode: PASSTHROUGH}, hosts: ['*.test', bare.example]"
	w := newWorld(t, map[string]string{
		"gateway.yaml": l4("", server(port, "TLS", pass), server(other, "HTTPS", pass)),
		"services.yaml": lines("exact.internal", exact) + "---\n" + lines("wild.internal", wild) + "---\n" + lines("rest.internal", rest) +
			"---\n" + lines("both.internal", exact),
		"exact.yaml": streams("exact", "a.sub.test", "  tls:\n  - {match: [{sniHosts: [a.sub.test]}], route: [{destination: {host: exact.internal}}]}\n"),
		"wild.yaml":  streams("wild", "*.sub.test", "  tls:\n  - {match: [{sniHosts: ['*.sub.test']}], route: [{destination: {host: wild.internal}}]}\n"),
		"port.yaml": streams("port", "port.test", fmt.Sprintf("  tls:\n  - {match: [{port: %d, sniHosts: [port.test]}], route: [{destination: {host: rest.internal}}]}\n"+
			"  - {match: [{port: %d, sniHosts: [port.test]}], route: [{destination: {host: wild.internal}}]}\n", port, other)),
		"weights.yaml": streams("weights", "weights.test", "  tls:\n  - {match: [{sniHosts: [weights.test]}], route: [{destination: {host: rest.internal}, weight: 100}, {destination: {host: wild.internal}, weight: 0}]}\n"),
	}).run().settled()
	w.flawless()
	w.hears(dialing{port: port, sni: "a.sub.test"}, "exact")
	w.hears(dialing{port: port, sni: "A.Sub.test"}, "exact")
	w.hears(dialing{port: port, sni: "b.sub.test"}, "wild")
	w.hears(dialing{port: port, sni: "x.b.sub.test"}, "wild")
	w.hears(dialing{port: other, sni: "a.sub.test"}, "exact")
	w.hears(dialing{port: port, sni: "port.test"}, "rest")
	w.hears(dialing{port: other, sni: "port.test"}, "wild")
	w.hears(dialing{port: port, sni: "bare.example"}, "")
	w.hears(dialing{port: port, sni: "unknown.test"}, "")
	w.hears(dialing{port: port}, "") // no TLS at all
	for range 10 {
		w.hears(dialing{port: port, sni: "weights.test"}, "rest")
	}
	if got := exact.named(); got != "a.sub.test" {
		t.Errorf("the server sees the name %q", got)
	}
	// A younger claim to a name is reported; the older stays, as do neighbours.
	w.write("young.yaml", streams("young", "a.sub.test", "  tls:\n  - {match: [{sniHosts: [a.sub.test]}], route: [{destination: {host: rest.internal}}]}\n"))
	w.problem("IgnoredDuplicate", "VirtualService default/young", "a.sub.test", "VirtualService default/exact")
	w.hears(dialing{port: port, sni: "a.sub.test"}, "exact")
	w.remove("exact.yaml")
	w.willHear(dialing{port: port, sni: "a.sub.test"}, "rest")
	w.hears(dialing{port: port, sni: "b.sub.test"}, "wild")
	w.flawless()
}

// UDP datagrams find an endpoint, and their answers the client.
func TestUDP(t *testing.T) {
	t.Parallel()
	echo, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { echo.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = echo.WriteTo(append([]byte("echo "), b[:n]...), from)
		}
	}()
	port := freePort(t)
	upstream := fleet("udp.internal", []*origin{{port: echo.LocalAddr().(*net.UDPAddr).Port}})
	w := newWorld(t, map[string]string{
		"gateway.yaml": l4("", server(port, "UDP", ", hosts: ['*']")),
		"udp.yaml": strings.Replace(upstream, "protocol: HTTP", "protocol: UDP", 1) + "---\n" +
			streams("udp", "*", fmt.Sprintf("  tcp:\n  - {match: [{port: %d}], route: [{destination: {host: udp.internal}}]}\n", port)),
	}).run()
	w.problem("Extension", "UDP", "spec.servers[0].port.protocol")
	w.unexpectedProblems("Extension")
	w.eventually("the echo", func() error {
		c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
		b := make([]byte, 100)
		n, err := c.Read(b)
		if err == nil && string(b[:n]) != "echo hello" {
			err = errNot(string(b[:n]))
		}
		return err
	})
}

// The PROXY protocol is taken from trusted peers only, on its way in and out.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	raw := newLineServer(t, "raw", nil)
	ports := map[string]int{"plain": freePort(t), "v1": freePort(t), "v2": freePort(t)}
	in := map[string]string{"services.yaml": lines("plain.internal", raw)}
	var servers []string
	for name, port := range ports {
		servers = append(servers, server(port, "TCP", ", hosts: ['*']"))
		in[name+".yaml"] = streams(name, "*", fmt.Sprintf("  tcp:\n  - {match: [{port: %d}], route: [{destination: {host: %s.internal}}]}\n", port, name))
		if name != "plain" {
			in[name+"-service.yaml"] = lines(name+".internal", raw) + "---\n" +
				rule(name+".internal", "  trafficPolicy: {proxyProtocol: {version: "+strings.ToUpper(name)+"}}\n")
		}
	}
	in["gateway.yaml"] = l4(", annotations: {sluice.dev/proxy-protocol: 127.0.0.5}", servers...)
	w := newWorld(t, in).run().settled()
	w.flawless()
	const header = "PROXY TCP4 10.1.2.3 10.4.5.6 1111 2222\r\n"
	w.hears(dialing{port: ports["plain"], from: "127.0.0.5", first: header}, "raw")
	w.hears(dialing{port: ports["plain"], from: "127.0.0.5"}, "raw")
	w.hears(dialing{port: ports["plain"], from: "127.0.0.6"}, "raw")
	w.hears(dialing{port: ports["plain"], from: "127.0.0.6", first: header}, "")
	w.hears(dialing{port: ports["v2"], from: "127.0.0.5", first: header}, "raw PROXYv2 10.1.2.3")
	w.hears(dialing{port: ports["v2"], from: "127.0.0.6"}, "raw PROXYv2 127.0.0.6")
	got, err := dialing{port: ports["v1"], from: "127.0.0.5", first: header}.say("hello")
	if err != nil || !strings.HasPrefix(got, "raw PROXY TCP4 10.1.2.3 ") {
		t.Errorf("version 1 of a header that came in: %q %v", got, err)
	}
	got, err = dialing{port: ports["v1"], from: "127.0.0.6"}.say("hello")
	if err != nil || !strings.HasPrefix(got, "raw PROXY TCP4 127.0.0.6 ") {
		t.Errorf("version 1 of a connection without a header: %q %v", got, err)
	}
	if raw.opened() > 20 {
		t.Errorf("%d connections are left open", raw.opened())
	}
}
