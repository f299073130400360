package e2e

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// Connections are bounded in number and time where somebody asks for it, stick
// to an endpoint by the client's address, and those that may not be served are
// closed without harm to a neighbour.
func TestConnectionPolicies(t *testing.T) {
	t.Parallel()
	servers := []*lineServer{newLineServer(t, "t0", nil), newLineServer(t, "t1", nil), newLineServer(t, "t2", nil)}
	names := []string{"limited", "short", "sticky", "lost", "mesh", "free"}
	policies := map[string]string{
		"short":   "{connectionPool: {tcp: {maxConnectionDuration: 300ms}}}",
		"sticky":  "{loadBalancer: {consistentHash: {useSourceIp: true}}}",
		"limited": "{connectionPool: {tcp: {maxConnections: 1}}}",
	}
	ports, files := map[string]int{}, map[string]string{}
	var open []string
	for _, name := range names {
		ports[name] = freePort(t)
		open = append(open, server(ports[name], "TCP", ", hosts: ['*']"))
		host, gateways := name+".internal", ""
		if name == "mesh" {
			gateways = ", gateways: [mesh]"
		}
		files[name+".yaml"] = streams(name, "*", fmt.Sprintf("  tcp:\n  - {match: [{port: %d%s}], route: [{destination: {host: %s}}]}\n", ports[name], gateways, host))
		if name != "lost" {
			files[name+".yaml"] += "---\n" + lines(host, servers...)
		}
		if policy := policies[name]; policy != "" {
			files[name+".yaml"] += "---\n" + rule(host, "  trafficPolicy: "+policy+"\n")
		}
	}
	files["gateway.yaml"] = l4("", open...)
	w := newWorld(t, files).run()
	w.problem("DestinationMissing", "VirtualService default/lost", "spec.tcp[0].route[0].destination", "lost.internal")
	w.eventually("the port is open", func() error {
		_, err := dialing{port: ports["free"]}.say("hello")
		return err
	})
	w.hears(dialing{port: ports["lost"]}, "")
	if answer, err := (dialing{port: ports["mesh"]}).say("hello"); err == nil {
		t.Errorf("a rule for the mesh answers %q", answer)
	}
	checkSticky(t, ports["sticky"])
	checkShort(t, ports["short"], ports["free"])
	checkLimited(w, ports["limited"], ports["free"])
}

func checkSticky(t *testing.T, port int) {
	t.Helper()
	used := map[string]bool{}
	for client := range 20 {
		from := fmt.Sprintf("127.0.2.%d", client+1)
		first, err := dialing{port: port, from: from}.say("hello")
		if err != nil {
			t.Fatal(err)
		}
		used[first] = true
		for range 3 {
			if again, err := (dialing{port: port, from: from}).say("hello"); err != nil || again != first {
				t.Errorf("%s is answered %q, then %q %v", from, first, again, err)
			}
		}
	}
	if len(used) < 2 {
		t.Errorf("20 clients are all answered by %v", used)
	}
}

// checkShort expects a busy connection to the first port to be ended, and one
// to the second to outlive it.
func checkShort(t *testing.T, short, long int) {
	t.Helper()
	var conns [2]net.Conn
	for i, port := range []int{short, long} {
		c, err := dialing{port: port}.open()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
	}
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if _, err := say(conns[0], "hello"); err != nil {
			break
		}
		pause(10 * time.Millisecond)
	}
	if _, err := say(conns[0], "hello"); err == nil {
		t.Errorf("the connection outlives its duration")
	}
	if _, err := say(conns[1], "hello"); err != nil {
		t.Errorf("the other connection ends too: %v", err)
	}
}

// checkLimited expects a second connection at a time to be closed at the first
// port, and to be served at the second.
func checkLimited(w *world, limited, free int) {
	w.t.Helper()
	for _, port := range []int{limited, free} {
		c, err := dialing{port: port}.open()
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := say(c, "hello"); err != nil {
			w.t.Errorf("the first connection to port %d: %v", port, err)
		}
		if _, err := (dialing{port: port}).say("hello"); (err == nil) != (port == free) {
			w.t.Errorf("the second connection to port %d, limited is %d: %v", port, limited, err)
		}
		c.Close()
	}
	w.eventually("there is room again", func() error {
		_, err := dialing{port: limited}.say("hello")
		return err
	})
}

// The annotation bounds the connections of each server of a gateway.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	s := newLineServer(t, "s", nil)
	port := freePort(t)
	w := newWorld(t, map[string]string{
		"gateway.yaml": l4(", annotations: {sluice.dev/max-connections: '2'}", server(port, "TCP", ", hosts: ['*']")),
		"s.yaml":       lines("s.internal", s) + "---\n" + streams("s", "*", "  tcp:\n  - route: [{destination: {host: s.internal}}]\n"),
	}).run().settled()
	w.flawless()
	var held []net.Conn
	for range 2 {
		c, err := dialing{port: port}.open()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if answer, err := say(c, "hello"); err != nil || answer != "s hello" {
			t.Fatalf("%q %v", answer, err)
		}
		held = append(held, c)
	}
	w.hears(dialing{port: port}, "")
	held[0].Close()
	w.willHear(dialing{port: port}, "s")
	if answer, err := say(held[1], "again"); err != nil || answer != "s again" {
		t.Errorf("the connection that was there is harmed: %q %v", answer, err)
	}
}
