package acme_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegw/sluice/tls/acme/pebbletest"
)

func TestRenewalOfShortCertificates(t *testing.T) {
	t.Parallel()
	const host = "short.example.com"
	a := pebbletest.Start(t, pebbletest.Options{Validity: time.Minute})
	o := options(a, t.TempDir())
	o.RenewalRatio = 0.95 // after three seconds
	m := issue(t, a, o, host)
	leaf := m.served.leaf(t, host)
	for range 3 {
		next := m.issued(t, host, leaf)
		if time.Now().After(leaf.NotAfter) {
			t.Error("there was a time without a certificate")
		}
		if string(next.RawSubjectPublicKeyInfo) == string(leaf.RawSubjectPublicKeyInfo) {
			t.Error("the key is an old one")
		}
		leaf = next
	}
	s := m.valid(t, host)
	if s.Renewal.Before(s.NotBefore) || s.Renewal.After(s.NotBefore.Add(4*time.Second)) {
		t.Errorf("%+v", s)
	}
}

func TestAuthorityWantsARenewal(t *testing.T) {
	t.Parallel()
	const host = "ari.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	dir := t.TempDir()
	o := options(a, dir)
	o.RenewalInfoInterval = 100 * time.Millisecond
	m := issue(t, a, o, host)
	leaf := m.served.leaf(t, host)
	if s := m.status(t, host); time.Until(s.Renewal) < 24*time.Hour {
		t.Fatalf("%+v", s)
	}
	// Later than what the ratio says has no effect, earlier has.
	a.SetRenewalInfo(t, leaf, leaf.NotAfter.Add(-2*time.Hour), leaf.NotAfter.Add(-time.Hour))
	soon := time.Now().Add(48 * time.Hour)
	if s := m.status(t, host); s.Renewal.After(leaf.NotAfter.Add(-29 * 24 * time.Hour)) {
		t.Errorf("%+v", s)
	}
	a.SetRenewalInfo(t, leaf, soon, soon.Add(time.Hour))
	await(t, "earlier renewal", func() bool {
		at := m.status(t, host).Renewal
		return !at.Before(soon.Truncate(time.Second)) && at.Before(soon.Add(time.Hour))
	})
	a.SetRenewalInfo(t, leaf, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	m.issued(t, host, leaf)
	if n := a.Orders(host); n != 2 {
		t.Errorf("%d orders", n)
	}
}

func TestRevocationReplacesFirst(t *testing.T) {
	t.Parallel()
	const host = "revoked.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	dir := t.TempDir()
	m := issue(t, a, options(a, dir), host)
	leaf := m.served.leaf(t, host)
	peer := run(t, options(a, dir))
	peer.Load(t.Context(), []string{host})
	if err := m.Revoke(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	if !a.Revoked(t, leaf) {
		t.Error("it is not revoked")
	}
	fresh := m.issued(t, host, leaf)
	if a.Revoked(t, fresh) {
		t.Error("the new one is revoked")
	}
	if got := peer.issued(t, host, leaf); !got.Equal(fresh) {
		t.Error("the peer serves another one")
	}
	if m.served.tells != 2 {
		t.Errorf("told %d times, want 2: there was a time without", m.served.tells)
	}
}

func TestRevocationWithoutReplacement(t *testing.T) {
	t.Parallel()
	const host = "withdrawn.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	dir := t.TempDir()
	o := options(a, dir)
	o.FirstRetry, o.LastRetry = time.Second, time.Second
	m := issue(t, a, o, host)
	leaf := m.served.leaf(t, host)
	peer := run(t, options(a, dir))
	peer.Load(t.Context(), []string{host})
	a.SetCAA(t, host, "nobody.example")
	err := m.Revoke(t.Context(), host)
	if err == nil || !strings.Contains(err.Error(), "CAA record") {
		t.Errorf("%v", err)
	}
	if !a.Revoked(t, leaf) {
		t.Error("it is not revoked")
	}
	for _, who := range []*manager{m, peer} {
		await(t, "withdrawal", func() bool {
			for _, s := range who.Status() {
				if s.NotAfter.IsZero() {
					return true
				}
			}
			return false
		})
	}
	a.ClearCAA(t, host)
	m.issued(t, host, leaf)
	if err := m.Revoke(t.Context(), "unknown.example.com"); err == nil {
		t.Error("what nobody has is revoked")
	}
}

func TestRenewWaitsItsTurn(t *testing.T) {
	t.Parallel()
	const host = "turn.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	m := issue(t, a, options(a, t.TempDir()), host)
	const callers = 3
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			// Pebble may not know yet which order the certificate came from that is
			// to be replaced.
			await(t, "renewal", func() bool { return m.Renew(t.Context(), host) == nil })
		})
	}
	wg.Wait()
	if m.served.tells != 1+callers {
		t.Errorf("told %d times, want %d: each call gets a certificate", m.served.tells, 1+callers)
	}
	if err := m.Renew(t.Context(), "unknown.example.com"); err == nil {
		t.Error("a host that nobody wants is renewed")
	}
}
