package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluicegw/sluice/tls/acme/pebbletest"
)

// Two gateways with one storage place one order for each name; whichever is asked
// answers the challenge, and both serve what was signed and what is renewed.
func TestACMETwoGateways(t *testing.T) {
	t.Parallel()
	hosts := []string{"one.test", "two.test", "three.test"}
	answers := newSigning(t, reachable{http: true, tls: true}, pebbletest.Options{})
	orders := &signing{world: newWorld(t, nil), plain: freePort(t)}
	orders.certify(answers.ca)
	orders.put("routes.yaml", everywhere(newOrigin(t, "o")))
	shared := t.TempDir()
	waiting := answers.hold("/order-plz")
	for _, s := range []*signing{orders, answers} {
		s.put("gateway.yaml", secured("", plainly("", "plain.test"), automatic(hosts...)))
	}
	orders.launch("--acme-storage", shared).settled()
	for range hosts {
		waiting.await(t) // the one that cannot be reached has all orders
	}
	answers.launch("--acme-storage", shared).settled()
	for _, host := range hosts {
		answers.closed(host)
	}
	waiting.let()
	for _, host := range hosts {
		if a, b := answers.signed(host), orders.signed(host); a.Cmp(b) != 0 {
			t.Errorf("%s is answered with %v and %v", host, a, b)
		}
	}
	answers.ordered(1, 1, hosts...)
	before := answers.serial("one.test")
	orders.succeeds("done", "certificates", "renew", "one.test")
	if a, b := answers.renewed("one.test", before), orders.renewed("one.test", before); a.Cmp(b) != 0 {
		t.Errorf("after a renewal it is answered with %v and %v", a, b)
	}
	answers.ordered(2, 2, "one.test")
	for _, s := range []*signing{orders, answers} {
		if doc := s.certificates()["one.test"]; doc.State != "valid" {
			t.Errorf("it is %+v", doc)
		}
		s.flawless()
	}
	// The storage outlives whoever wrote it.
	serial := orders.serial("two.test")
	orders.stop(syscall.SIGKILL)
	answers.stop(syscall.SIGTERM)
	answers.launch("--acme-storage", shared)
	if now := answers.serial("two.test"); now.Cmp(serial) != 0 {
		t.Errorf("after a restart it is answered with %v, not %v", now, serial)
	}
}

// What is on disk is served whatever the authority does, and nothing is asked of it
// before; who has nothing yet waits, and is told why.
func TestACMEWithoutAuthority(t *testing.T) { layouts(t, withoutAuthority) }

func withoutAuthority(t *testing.T, metadata string) {
	s := newSigning(t, reachable{tls: true}, pebbletest.Options{})
	s.put("gateway.yaml", secured(metadata, automatic("old.test")))
	s.launch()
	serial := s.signed("old.test")
	s.stop(syscall.SIGTERM)

	// An authority that takes questions and never answers.
	silent := s.hold("/")
	s.launch()
	if now := s.serial("old.test"); now.Cmp(serial) != 0 {
		t.Errorf("after a restart it is answered with %v, not %v", now, serial)
	}
	s.put("gateway.yaml", secured(metadata, automatic("old.test", "new.test")))
	s.settled()
	s.closed("new.test")
	asked := silent.await(t)
	s.serial("old.test")
	// Whoever leaves is not ordered for any more.
	s.put("gateway.yaml", secured(metadata, automatic("old.test")))
	s.left(silent, asked)
	s.stop(syscall.SIGTERM)

	// One that is not there at all.
	s.ca.SetIntercept(nil)
	s.ca.Stop()
	s.put("gateway.yaml", secured(metadata, automatic("old.test", "new.test")))
	s.launch().settled()
	s.serial("old.test")
	s.certified("new.test", func(d certificateDoc) bool {
		return d.State == "failing" && strings.Contains(d.Error, s.ca.Directory) && d.NextTry != nil
	})
	s.problem("CertificatePending", "new.test")
	s.fails("EOF", "certificates", "renew", "new.test")

	// One that refuses.
	s.ca.Continue()
	s.ca.SetCAA(t, "new.test", "somebody-else.example")
	s.fails("CAA record", "certificates", "renew", "new.test")
	s.certified("new.test", func(d certificateDoc) bool {
		return d.State == "failing" && strings.Contains(d.Error, "somebody-else.example")
	})
	s.ca.ClearCAA(t, "new.test")
	s.succeeds("done", "certificates", "renew", "new.test")
	s.signed("new.test")
	s.certified("new.test", func(d certificateDoc) bool { return d.State == "valid" && d.Error == "" })
	if now := s.serial("old.test"); now.Cmp(serial) != 0 {
		t.Errorf("at last it is answered with %v, not %v", now, serial)
	}
	s.flawless()
}

// left waits until nobody waits for the authority any more.
func (s *signing) left(silent held, asked *http.Request) {
	s.t.Helper()
	for {
		select {
		case <-asked.Context().Done():
		case <-time.After(patience):
			s.t.Fatalf("%s is still asked for", asked.URL)
		}
		select {
		case asked = <-silent.asked:
		default:
			return
		}
	}
}

// A crash loop does not ask for more than one certificate.
func TestACMECrashLoop(t *testing.T) {
	t.Parallel()
	s := newSigning(t, reachable{tls: true}, pebbletest.Options{})
	s.put("gateway.yaml", secured("", automatic("auto.test")))
	var finalized atomic.Int32
	s.ca.SetIntercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/finalize-order/") {
			finalized.Add(1)
		}
		return false
	})
	for turn := range 4 {
		s.launch()
		if turn > 0 {
			s.signed("auto.test")
		}
		s.stop(syscall.SIGKILL)
	}
	s.launch()
	first := s.signed("auto.test")
	if n := finalized.Load(); n > 2 {
		t.Errorf("%d certificates were asked for", n)
	}
	if n := s.ca.Orders("auto.test"); n > 3 {
		t.Errorf("%d orders", n)
	}
	if now := s.serial("auto.test"); now.Cmp(first) != 0 {
		t.Error(fmt.Errorf("it is answered with %v and %v", first, now))
	}
}
