package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/sluicegw/sluice/tls/acme/pebbletest"
)

// Challenges by HTTP-01 come through Envoy: before every rule, before a redirect,
// for hosts that have no rule in plain HTTP, and without taking anything else.
func TestACMEOverHTTP(t *testing.T) {
	t.Parallel()
	for name, metadata := range map[string]string{"chains": "", "on-demand": onDemand} {
		for _, above := range []string{"0", "256"} {
			t.Run(name+"-"+above, func(t *testing.T) {
				t.Parallel()
				overHTTP(t, metadata, above)
			})
		}
	}
}

func overHTTP(t *testing.T, metadata, scopedAbove string) {
	hosts := []string{"shop.test", "moved.test", "bare.test", "a.wild.test", "b.wild.test"}
	s := newSigning(t, reachable{http: true}, pebbletest.Options{})
	s.put("gateway.yaml", secured(metadata, plainly("", "shop.test", "*.wild.test", "other.test"), plainly(", tls: {httpsRedirect: true}", "moved.test"), automatic(hosts...)))
	s.put("routes.yaml", fleet("o.internal", []*origin{newOrigin(t, "o")})+"---\n"+routes("some", `shop.test", "moved.test", "bare.test", "other.test`, to("o.internal"))+
		"---\n"+fleet("wild.internal", []*origin{newOrigin(t, "wild")})+"---\n"+routes("wild", "*.wild.test", to("wild.internal")))
	s.launch("--scoped-above", scopedAbove).settled()
	for _, host := range hosts {
		name := "o "
		if strings.HasSuffix(host, ".wild.test") {
			name = "wild "
		}
		s.visited(visit{caller: s.verified(host), body: name + host})
		if err := s.handed(host); err != nil {
			t.Errorf("%s hands no challenge on: %v", host, err)
		}
	}
	s.ordered(1, 2, hosts...)
	s.plainAnswers("shop.test", "/", http.StatusOK, "o shop.test /")
	s.plainAnswers("moved.test", "/x", http.StatusMovedPermanently, "https://moved.test")
	s.plainAnswers("bare.test", "/", http.StatusNotFound, "")
	s.plainAnswers("a.wild.test", "/x", http.StatusOK, "wild a.wild.test /x")
	s.plainAnswers("c.wild.test", challenge, http.StatusOK, "wild c.wild.test "+challenge)
	s.plainAnswers("other.test", challenge, http.StatusOK, "o other.test "+challenge)
	s.flawless()
	// All of plain HTTP is sent on to HTTPS, but for challenges.
	s.put("gateway.yaml", secured(metadata, plainly(", tls: {httpsRedirect: true}", "*"), automatic(append(hosts, "late.test")...)))
	s.put("routes.yaml", everywhere(newOrigin(t, "o")))
	s.signed("late.test")
	for _, host := range []string{"late.test", "shop.test", "a.wild.test", "nobody.test"} {
		s.plainAnswers(host, "/x", http.StatusMovedPermanently, "https://"+host)
	}
	if err := s.handed("late.test"); err != nil {
		t.Errorf("a host that is redirected hands no challenge on: %v", err)
	}
	s.plainAnswers("nobody.test", challenge, http.StatusMovedPermanently, "https://nobody.test")
	s.flawless()
}

// An order goes out only after every proxy hands its challenges on: at the start,
// and for hosts that come later.
func TestACMEOrdersAfterTheWayIsOpen(t *testing.T) {
	t.Parallel()
	s := newSigning(t, reachable{http: true, tls: true}, pebbletest.Options{})
	var mu sync.Mutex
	orders, early := 0, map[string]error{}
	wanted := "h0.test"
	s.ca.SetIntercept(func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/order-plz" {
			orders++
			if err := s.handed(wanted); err != nil {
				early[wanted] = err
			}
		}
		return false
	})
	servers := []string{plainly("", "shop.test"), automatic("h0.test")}
	s.put("gateway.yaml", secured("", servers...))
	s.launch()
	s.signed("h0.test")
	for n := 1; n <= 5; n++ {
		host := fmt.Sprintf("h%d.test", n)
		mu.Lock()
		wanted = host
		mu.Unlock()
		servers = append(servers, automatic(host))
		s.put("gateway.yaml", secured("", servers...))
		s.signed(host)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(early) > 0 || orders != 6 {
		t.Errorf("%d orders, of which went out too early %v", orders, early)
	}
}
