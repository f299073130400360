package e2e

import (
	"crypto/tls"
	"fmt"
	"testing"
)

// A session that began at one Envoy process resumes at the next, and at another
// gateway with the same storage: keys are shared.
func TestTLSTickets(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	files := map[string]string{
		"gateway.yaml": secured("", simple("a", "a.test")), "routes.yaml": everywhere(newOrigin(t, "o")),
		"secrets.yaml": ca.issue("a.test").secret("a"),
	}
	storage := t.TempDir()
	first := newWorld(t, files).run("--acme-storage", storage).settled()
	second := newWorld(t, files).run("--acme-storage", storage).settled()
	stranger := newWorld(t, files).run().settled()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := tls.NewLRUClientSessionCache(8)
		resuming := func(sni string) caller {
			return caller{sni: sni, trust: ca, tune: func(c *tls.Config) { c.ClientSessionCache, c.MaxVersion = cache, version }}
		}
		resumes := func(want bool) func(echo) error {
			return func(a echo) error {
				if a.tls.DidResume != want {
					return fmt.Errorf("resumed: %v", a.tls.DidResume)
				}
				return nil
			}
		}
		first.visits(
			visit{name: "begins", caller: resuming("a.test"), check: resumes(false)},
			visit{name: "resumes", caller: resuming("a.test"), check: resumes(true)},
		)
		second.visits(visit{name: "resumes at another gateway", caller: resuming("a.test"), check: resumes(true)})
		stranger.visits(visit{name: "begins anew where the keys are others", caller: resuming("a.test"), check: resumes(false)})
		first.visits(visit{name: "comes back", caller: resuming("a.test")})
		pid := first.status().Envoy.PID
		kill(t, pid)
		first.eventually("another Envoy serves", func() error {
			if now := first.status().Envoy; now.PID == pid || now.Phase != "Running" {
				return fmt.Errorf("it is %d %s", now.PID, now.Phase)
			}
			return nil
		})
		first.visited(visit{caller: caller{sni: "a.test", trust: ca}}) // with no session to resume
		first.visits(visit{name: "resumes at another process", caller: resuming("a.test"), check: resumes(true)})
	}
}
