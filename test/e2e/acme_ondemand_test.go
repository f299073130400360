package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluicegw/sluice/tls/acme/pebbletest"
)

// firstUse has certificates for names below wildcards ordered on demand.
const firstUse = ", annotations: {sluice.dev/tls: on-demand%s}"

// Below a wildcard each name gets its certificate while its first client waits, by
// whichever challenge comes through, and once only. Declared names go on as they are.
func TestACMEOnDemand(t *testing.T) {
	t.Parallel()
	for name, by := range map[string]reachable{"http": {http: true}, "tls": {tls: true}} {
		for _, above := range []string{"0", "256"} {
			t.Run(name+"-"+above, func(t *testing.T) {
				t.Parallel()
				onFirstUse(t, by, above)
			})
		}
	}
}

func onFirstUse(t *testing.T, by reachable, scopedAbove string) {
	s := newSigning(t, by, pebbletest.Options{})
	own := newAuthority(t)
	servers := []string{automatic("*.shop.test", "fixed.shop.test"), simple("own", "own.shop.test")}
	if by.http {
		servers = append(servers, plainly("", "*.shop.test", "plain.shop.test"))
	}
	s.put("secrets.yaml", own.issue("own.shop.test").secret("own"))
	s.put("gateway.yaml", secured(fmt.Sprintf(firstUse, ""), servers...))
	s.launch("--scoped-above", scopedAbove).settled()
	s.flawless()
	s.visits(visit{name: "a declared name", caller: caller{sni: "own.shop.test", trust: own}, shown: "own.shop.test"})
	s.signed("fixed.shop.test")
	if names := s.certificate("a.shop.test").DNSNames; !slices.Equal(names, []string{"a.shop.test"}) {
		t.Errorf("the certificate is for %q", names)
	}
	many := make([]error, 20)
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() { _, many[i] = s.call(s.verified("B.shop.test"), query{host: "b.shop.test"}) })
	}
	all.Wait()
	for _, err := range many {
		if err != nil {
			t.Errorf("one of many first clients: %v", err)
		}
	}
	s.visits(visit{name: "a second client", caller: s.verified("b.shop.test"), body: "o b.shop.test"})
	for _, outside := range []string{"shop.test", "other.test", "a_b.shop.test", "-.shop.test"} {
		s.atOnce(outside)
	}
	s.ordered(1, 2, "fixed.shop.test", "a.shop.test", "b.shop.test")
	s.ordered(0, 0, "own.shop.test", "*.shop.test", "shop.test", "other.test", "plain.shop.test")
	if doc := s.certificates()["a.shop.test"]; doc.State != "valid" {
		t.Errorf("the certificate of a name on demand is %+v", doc)
	}
	if by.http {
		s.plainAnswers("plain.shop.test", "/x", http.StatusOK, "o plain.shop.test /x")
		for _, host := range []string{"plain.shop.test", "any.shop.test"} {
			if err := s.handed(host); err != nil {
				t.Errorf("%s hands no challenge on: %v", host, err)
			}
		}
	}
	// What was issued is on disk, and served from there.
	before := s.serial("a.shop.test")
	orders := s.ca.Orders("a.shop.test")
	s.stop(syscall.SIGTERM)
	s.launch("--scoped-above", scopedAbove).settled()
	if s.serial("a.shop.test").Cmp(before) != 0 || s.ca.Orders("a.shop.test") != orders {
		t.Error("a certificate was ordered although there is one")
	}
	// A wildcard that goes takes its names along.
	s.put("gateway.yaml", secured(fmt.Sprintf(firstUse, ""), automatic("fixed.shop.test"), simple("own", "own.shop.test")))
	s.settled()
	s.atOnce("a.shop.test")
	if doc, any := s.certificates()["a.shop.test"]; any {
		t.Errorf("a name whose wildcard left is %+v", doc)
	}
}

// atOnce expects that a name gets no certificate, and hears so without delay.
func (s *signing) atOnce(host string) {
	s.t.Helper()
	start := time.Now()
	if _, err := s.call(caller{sni: host}, query{}); err == nil {
		s.t.Errorf("%s has a certificate", host)
	}
	if took := time.Since(start); took > 3*time.Second {
		s.t.Errorf("%s waits %v for nothing", host, took)
	}
}

// "*" covers the names that a rule allows.
func TestACMEOnDemandRule(t *testing.T) {
	t.Parallel()
	s := newSigning(t, reachable{tls: true}, pebbletest.Options{})
	s.put("gateway.yaml", secured(fmt.Sprintf(firstUse, ""), automatic("*")))
	s.launch()
	s.problem("CredentialMissing", "gateway.yaml", `"*"`, "sluice.dev/tls-allow", "--acme-ask")
	s.atOnce("a.shop.test")
	s.put("gateway.yaml", secured(fmt.Sprintf(firstUse, ", sluice.dev/tls-allow: '*.shop.test, single.test'"), automatic("*")))
	s.settled()
	s.flawless()
	s.serial("a.shop.test")
	s.serial("single.test")
	s.atOnce("other.test")
	s.atOnce("below.single.test")
	s.ordered(1, 1, "a.shop.test", "single.test")
	s.ordered(0, 0, "other.test", "below.single.test")
}

// Who is asked has the last word, and is asked once.
func TestACMEOnDemandAsks(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	questions := map[string]int{}
	who := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		questions[r.URL.Query().Get("domain")]++
		if !strings.HasPrefix(r.URL.Query().Get("domain"), "yes") || r.URL.Query().Get("key") != "1" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer who.Close()
	s := newSigning(t, reachable{tls: true}, pebbletest.Options{})
	s.put("gateway.yaml", secured(fmt.Sprintf(firstUse, ""), automatic("*")))
	s.launch("--acme-ask", who.URL+"/?key=1").settled()
	s.flawless()
	s.serial("yes.test")
	s.serial("yes.test")
	s.atOnce("no.test")
	s.atOnce("no.test")
	s.ordered(1, 1, "yes.test")
	s.ordered(0, 0, "no.test")
	mu.Lock()
	defer mu.Unlock()
	if questions["yes.test"] != 1 || questions["no.test"] != 1 {
		t.Errorf("it was asked %v", questions)
	}
}

// An order that fails ends the wait of its client, is shown with the words of the
// authority, and keeps nobody waiting until the next try.
func TestACMEOnDemandFails(t *testing.T) {
	t.Parallel()
	s := newSigning(t, reachable{}, pebbletest.Options{}) // challenges come nowhere
	s.put("gateway.yaml", secured(fmt.Sprintf(firstUse, ""), automatic("*.shop.test")))
	s.launch().settled()
	if _, err := s.call(caller{sni: "a.shop.test"}, query{}); err == nil {
		t.Error("a name that cannot be proven has a certificate")
	}
	s.certified("a.shop.test", func(d certificateDoc) bool { return d.State == "failing" && d.Error != "" && d.NextTry != nil })
	orders := s.ca.Orders("a.shop.test")
	s.atOnce("a.shop.test")
	s.ordered(orders, orders, "a.shop.test")
}
