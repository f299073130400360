package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Simple load balancers give every server its share.
func TestSimpleBalancers(t *testing.T) {
	t.Parallel()
	files := map[string]string{"gateway.yaml": edge("*")}
	servers := origins(t, "s", 3)
	for name, policy := range map[string]string{
		"default": "", "round": "{loadBalancer: {simple: ROUND_ROBIN}}", "random": "{loadBalancer: {simple: RANDOM}}",
		"least": "{loadBalancer: {simple: LEAST_REQUEST}}", "conn": "{loadBalancer: {simple: LEAST_CONN}}",
		"warm": "{loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 1s, minimumPercent: 50, aggression: 2}}}",
	} {
		files[name+".yaml"] = reached(name, servers, policy)
	}
	files["weighted.yaml"] = fleet("weighted.internal", servers, "weight: 8", "weight: 1", "weight: 1") + "---\n" +
		routes("weighted", "weighted.test", to("weighted.internal")) + "---\n" + rule("weighted.internal", "  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}\n")
	w := newWorld(t, files).run().settled()
	for name, least := range map[string]int{"default": 8, "round": 29, "random": 8, "least": 8, "conn": 8, "warm": 8} {
		got := w.spread(query{host: name + ".test"}, 90)
		for _, s := range servers {
			if got[s.name] < least {
				t.Errorf("%s: %v, want at least %d each", name, got, least)
			}
		}
	}
	if got := w.spread(query{host: "weighted.test"}, 100); got["s0"] < 70 || got["s1"] < 5 || got["s2"] < 5 {
		t.Errorf("weights of 8, 1 and 1 give %v", got)
	}
}

// sticking is a consistent hash and how a client shows its key.
type sticking struct {
	name, hash string
	show       func(key int) query
}

func stickings() []sticking {
	header := func(key int) query { return query{headers: "x-user: user" + itoa(key)} }
	cookie := func(key int) query { return query{headers: "cookie: other=1; session=user" + itoa(key)} }
	return []sticking{
		{"ring-header", "httpHeaderName: X-User", header},
		{"ring-size", "httpHeaderName: x-user, ringHash: {minimumRingSize: 4096}", header},
		{"maglev-header", "httpHeaderName: x-user, maglev: {tableSize: 5003}", header},
		{"maglev-default", "httpHeaderName: x-user, maglev: {}", header},
		{"ring-cookie", "httpCookie: {name: session, ttl: 1h}", cookie},
		{"maglev-cookie", "httpCookie: {name: session}, maglev: {}", cookie},
		{"ring-source", "useSourceIp: true", func(key int) query { return query{from: "127.0.1." + itoa(key+1)} }},
		{"ring-query", "httpQueryParameterName: user", func(key int) query { return query{path: "/?user=" + itoa(key)} }},
	}
}

// Equal keys go to the same server, different ones to all, and when a server
// leaves its keys move and few others. Envoy keeps the size of a ring, so that the
// servers that stay get a third more points each: one key in six of theirs moves to
// another, 12 of 75 give or take 3. A hash without a ring would move 50.
func TestConsistentHash(t *testing.T) {
	t.Parallel()
	const keys = 100
	servers := origins(t, "s", 4)
	files := map[string]string{"gateway.yaml": edge("*")}
	for _, c := range stickings() {
		files[c.name+".yaml"] = reached(c.name, servers, "{loadBalancer: {consistentHash: {"+c.hash+"}}}")
	}
	w := newWorld(t, files).run().settled()
	w.flawless()
	places := func(w *world, c sticking) (out [keys]string) {
		for key := range keys {
			q := c.show(key)
			q.host = c.name + ".test"
			r := w.must(q)
			if r.code != http.StatusOK {
				w.t.Fatalf("%+v: %d %q", q, r.code, r.body)
			}
			out[key] = r.name()
		}
		return out
	}
	for _, c := range stickings() {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			before := places(w, c)
			if again := places(w, c); again != before {
				t.Errorf("equal keys move:\n%v\n%v", before, again)
			}
			used := map[string]bool{}
			for _, name := range before {
				used[name] = true
			}
			if len(used) != len(servers) {
				t.Errorf("%d keys are on %v", keys, used)
			}
			w.write(c.name+".yaml", reached(c.name, servers[1:], "{loadBalancer: {consistentHash: {"+c.hash+"}}}"))
			w.wait()
			after := places(w, c)
			moved := 0
			for key := range keys {
				if after[key] == "s0" {
					t.Errorf("key %d is on the server that left", key)
				}
				if before[key] != "s0" && before[key] != after[key] {
					moved++
				}
			}
			if moved > keys/3 {
				t.Errorf("%d keys of servers that stayed moved", moved)
			}
		})
	}
}

// A cookie with a lifetime is made for those who have none, and sticks; one
// without is only taken from clients. No key means no stickiness.
func TestHashCookies(t *testing.T) {
	t.Parallel()
	servers := origins(t, "s", 4)
	hashed := func(name, hash string) string {
		return reached(name, servers, "{loadBalancer: {consistentHash: {"+hash+"}}}")
	}
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"),
		"ttl.yaml":     hashed("ttl", "httpCookie: {name: made, path: /p, ttl: 100s}"),
		"session.yaml": hashed("session", "httpCookie: {name: made, ttl: 0s}"),
		"flags.yaml":   hashed("flags", "httpCookie: {name: made, ttl: 0s, attributes: [{name: SameSite, value: Strict}]}"),
		"passive.yaml": hashed("passive", "httpCookie: {name: made}"),
		"header.yaml":  hashed("header", "httpHeaderName: x-user"),
	}).run().settled()
	w.flawless()
	for name, want := range map[string]string{"ttl": "Max-Age=100", "session": "made=", "flags": "SameSite=Strict"} {
		r := w.must(query{host: name + ".test"})
		cookie := r.header.Get("Set-Cookie")
		if !strings.HasPrefix(cookie, "made=") || !strings.Contains(cookie, want) || name == "ttl" && !strings.Contains(cookie, "Path=/p") ||
			name == "session" && strings.Contains(cookie, "Max-Age") {
			t.Errorf("%s: the cookie is %q", name, cookie)
			continue
		}
		pair, _, _ := strings.Cut(cookie, ";")
		for range 5 {
			again := w.must(query{host: name + ".test", headers: "cookie: " + pair})
			if again.name() != r.name() || again.header.Get("Set-Cookie") != "" {
				t.Errorf("%s: %s answers, not %s, with the cookie %q", name, again.name(), r.name(), again.header.Get("Set-Cookie"))
			}
		}
	}
	if r := w.must(query{host: "passive.test"}); r.header.Get("Set-Cookie") != "" {
		t.Errorf("a passive cookie is made: %q", r.header.Get("Set-Cookie"))
	}
	for _, name := range []string{"passive", "header"} {
		if got := w.spread(query{host: name + ".test"}, 40); len(got) < 2 {
			t.Errorf("%s: requests without a key go to %v", name, got)
		}
	}
}

// local is a service whose servers have localities and labels.
func local(name string, servers []*origin, policy string) string {
	places := []string{"locality: r1/z1/s1, labels: {version: v1}", "locality: r1/z2/s1, labels: {version: v2}", "locality: r2/z1/s1, labels: {version: v2}", "locality: r3/z1/s1, labels: {version: v3}"}
	host := name + ".internal"
	return fleet(host, servers, places...) + "---\n" + routes(name, name+".test", to(host)) + "---\n" + rule(host, "  trafficPolicy: "+policy+"\n")
}

const ejecting = "outlierDetection: {consecutive5xxErrors: 1, consecutiveGatewayErrors: 1, interval: 100ms, baseEjectionTime: 3s, maxEjectionPercent: 100}"

// Requests stay near, go far when near fails, and come back.
func TestLocalityFailover(t *testing.T) {
	t.Parallel()
	near := map[string][]*origin{}
	for _, name := range []string{"auto", "named", "labels", "off", "alone", "zones"} {
		near[name] = origins(t, name, 4)
	}
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"),
		"auto.yaml":    local("auto", near["auto"], "{loadBalancer: {localityLbSetting: {enabled: true}}, "+ejecting+"}"),
		"named.yaml":   local("named", near["named"], "{loadBalancer: {localityLbSetting: {failover: [{from: r1, to: r3}]}}, "+ejecting+"}"),
		"labels.yaml":  local("labels", near["labels"], "{loadBalancer: {localityLbSetting: {failoverPriority: ['version=v3']}}, "+ejecting+"}"),
		"off.yaml":     local("off", near["off"], "{loadBalancer: {localityLbSetting: {enabled: false}}, "+ejecting+"}"),
		"alone.yaml":   local("alone", near["alone"], "{loadBalancer: {simple: ROUND_ROBIN}}"),
		"zones.yaml":   local("zones", near["zones"], "{loadBalancer: {zoneAwareLbSetting: {enabled: true, minClusterSize: 1}}, "+ejecting+"}"),
	}).run("--locality", "r1/z1/s1").settled()
	w.flawless()
	for _, host := range []string{"off", "alone"} {
		if got := w.spread(query{host: host + ".test"}, 40); len(got) != 4 {
			t.Errorf("%s: requests go to %v, want all", host, got)
		}
	}
	for name := range w.spread(query{host: "zones.test"}, 40) {
		if name != "zones0" && name != "zones1" {
			t.Errorf("a zone-aware balancer leaves its region for %s", name)
		}
	}
	for _, c := range []struct {
		host  string
		order []int // the servers in the order in which they stand in
		left  []int // those that answer when all of order fail
	}{
		{"auto", []int{0, 1}, []int{2, 3}},
		{"named", []int{0, 1}, []int{3}},
		{"labels", []int{3}, []int{0, 1, 2}},
	} {
		t.Run(c.host, func(t *testing.T) {
			t.Parallel()
			w, servers := w.in(t), near[c.host]
			q := query{host: c.host + ".test"}
			for _, i := range c.order {
				w.only(q, servers[i].name)
				servers[i].setSick(true)
			}
			if len(c.left) == 1 {
				w.only(q, servers[c.left[0]].name)
			}
			w.eventually("those left answer", func() error {
				r, err := w.do(q)
				if err == nil && r.code != http.StatusOK {
					err = unexpected(r.code, r.line())
				}
				return err
			})
			for _, i := range c.order {
				servers[i].setSick(false)
			}
			w.only(q, servers[c.order[0]].name)
		})
	}
}

// Distribute gives localities their percentage, by where the gateway runs.
func TestLocalityDistribute(t *testing.T) {
	t.Parallel()
	servers := origins(t, "s", 4)
	spread := func(name, from, shares string) string {
		return local(name, servers, fmt.Sprintf("{loadBalancer: {simple: ROUND_ROBIN, localityLbSetting: {distribute: [{from: %s, to: {%s}}]}}}", from, shares))
	}
	w := newWorld(t, map[string]string{
		"gateway.yaml": edge("*"),
		"here.yaml":    spread("here", "r1/z1/*", "'r1/*': 70, 'r2/*': 30"),
		"there.yaml":   spread("there", "r9/z9/*", "'r2/*': 100"),
	}).run("--locality", "r1/z1/s1").settled()
	w.flawless()
	const n = 200
	got := w.spread(query{host: "here.test"}, n)
	// 60 are expected, with a standard deviation of 6.5 if drawn.
	if far := got["s2"]; far < 30 || far > 95 || got["s3"] != 0 || got["s0"] == 0 || got["s1"] == 0 {
		t.Errorf("shares of 70 and 30 give %v", got)
	}
	if got := w.spread(query{host: "there.test"}, 80); len(got) != 4 {
		t.Errorf("a rule for another place sends requests to %v, want all", got)
	}
}
