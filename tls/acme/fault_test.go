package acme_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/sluicegw/sluice/tls/acme"
	"github.com/sluicegw/sluice/tls/acme/budget"
	"github.com/sluicegw/sluice/tls/acme/pebbletest"
)

// issue starts a manager and has it get certificates.
func issue(t *testing.T, a *pebbletest.Authority, o acme.Options, hosts ...string) *manager {
	t.Helper()
	m := run(t, o)
	forwardTo(t, a, m.Manager)
	m.Want(wants(true, hosts...))
	for _, h := range hosts {
		m.issued(t, h, nil)
	}
	return m
}

// failing waits for words of the authority in a host's state.
func (m *manager) failing(t *testing.T, host, words string) (s acme.HostStatus) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("%+v", m.Status())
		}
	}()
	await(t, "state with "+words, func() bool {
		s = m.status(t, host)
		return s.Error != "" && strings.Contains(s.Error, words)
	})
	if s.State != acme.StateFailing || s.NextTry.IsZero() {
		t.Errorf("%+v", s)
	}
	return s
}

func TestOutageOfTheAuthority(t *testing.T) {
	t.Parallel()
	const host = "outage.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	dir := t.TempDir()
	m := issue(t, a, options(a, dir), host)
	leaf := m.served.leaf(t, host)
	a.Stop()
	if err := m.Renew(t.Context(), host); err == nil {
		t.Fatal("renewed by an authority that is down")
	}
	if s := m.failing(t, host, "EOF"); !s.NotAfter.Equal(leaf.NotAfter) {
		t.Errorf("%+v", s)
	}
	if got := m.served.leaf(t, host); !got.Equal(leaf) {
		t.Error("the certificate is no longer served")
	}
	m.stop()

	// A new process serves it before it asks anybody.
	again := run(t, options(a, dir))
	if got := leafOf(t, again.Load(t.Context(), []string{host})[host]); got == nil || !got.Equal(leaf) {
		t.Fatal("the certificate is not loaded")
	}
	if s := again.status(t, host); s.State != acme.StateFailing || !s.NotAfter.Equal(leaf.NotAfter) {
		t.Errorf("%+v", s)
	}
	a.Continue()
}

func TestExpiryDuringAnOutage(t *testing.T) {
	t.Parallel()
	const host = "expiry.example.com"
	a := pebbletest.Start(t, pebbletest.Options{Validity: 10 * time.Second})
	m := run(t, options(a, t.TempDir()))
	forwardTo(t, a, m.Manager)
	m.Want(wants(true, host))
	leaf := m.issued(t, host, nil)
	a.Stop()
	await(t, "withdrawal", func() bool {
		if now := m.served.leaf(t, host); now != nil {
			leaf = now
			return false
		}
		return true
	})
	if time.Now().Before(leaf.NotAfter) {
		t.Errorf("it is withdrawn before it expires at %v", leaf.NotAfter)
	}
	m.failing(t, host, "")
	a.Continue()
	m.issued(t, host, leaf)
}

func TestAuthorityAnswersErrors(t *testing.T) {
	t.Parallel()
	const host = "errors.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	a.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/order-plz" {
			return false
		}
		pebbletest.Problem{Status: http.StatusServiceUnavailable, Kind: "serverInternal", Detail: "the database is away"}.Write(w)
		return true
	})
	m := run(t, options(a, t.TempDir()))
	forwardTo(t, a, m.Manager)
	m.Want(wants(true, host))
	m.failing(t, host, "serverInternal: the database is away")
	a.SetIntercept(nil)
	m.issued(t, host, nil)
	if s := m.valid(t, host); s.Error != "" || !s.NextTry.IsZero() {
		t.Errorf("%+v", s)
	}
}

func TestAuthorityNamesTheNextTry(t *testing.T) {
	t.Parallel()
	const host = "limited.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	at := time.Now().Add(5 * time.Hour).UTC().Truncate(time.Second)
	a.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/order-plz" {
			return false
		}
		pebbletest.Problem{Status: http.StatusTooManyRequests, Kind: "rateLimited", Detail: "too many certificates already issued, retry after " + at.Format(time.DateTime) + " UTC: see the docs"}.Write(w)
		return true
	})
	m := run(t, options(a, t.TempDir()))
	m.Want(wants(true, host))
	if s := m.failing(t, host, "rateLimited"); !s.NextTry.Equal(at) {
		t.Errorf("the next try is at %v, want %v", s.NextTry, at)
	}
}

func TestNoncesAreRefused(t *testing.T) {
	t.Parallel()
	a := pebbletest.Start(t, pebbletest.Options{NonceReject: 20})
	hosts := []string{"n1.example.com", "n2.example.com", "n3.example.com", "n4.example.com", "n5.example.com"}
	issue(t, a, options(a, t.TempDir()), hosts...)
}

func TestCAAForbids(t *testing.T) {
	t.Parallel()
	const host = "caa.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	a.SetCAA(t, "example.com", "other-authority.example")
	m := run(t, options(a, t.TempDir()))
	forwardTo(t, a, m.Manager)
	m.Want(wants(true, host))
	m.failing(t, host, "caa: CAA record for "+host+" prevents issuance: only other-authority.example may issue")
	if err := m.Renew(t.Context(), host); err == nil || !strings.Contains(err.Error(), "CAA record") {
		t.Errorf("%v", err)
	}
	a.ClearCAA(t, "example.com")
	m.issued(t, host, nil)
}

func TestFailedChallengeShowsWhatTheAuthoritySaw(t *testing.T) {
	t.Parallel()
	const host = "unreachable.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	o := options(a, t.TempDir())
	o.Issuers[0].Limits = &budget.Limits{Failures: budget.Limit{Count: 2, Per: time.Hour}}
	m := run(t, o) // nobody forwards to it
	m.Want(wants(false, host))
	m.failing(t, host, "unauthorized: Failed to connect")
	s := m.failing(t, host, "failed authorizations in 1h0m0s for "+host)
	if wait := time.Until(s.NextTry); wait < 20*time.Minute || wait > 31*time.Minute {
		t.Errorf("the next try is in %v, want half an hour", wait)
	}
}

func TestBudgetOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	a := pebbletest.Start(t, pebbletest.Options{})
	dir := t.TempDir()
	o := options(a, dir)
	o.Issuers[0].Limits = &budget.Limits{Domain: budget.Limit{Count: 1, Per: 10 * time.Hour}}
	m := issue(t, a, o, "one.example.com")
	m.stop()
	o = options(a, dir)
	o.Issuers[0].Limits = &budget.Limits{Domain: budget.Limit{Count: 1, Per: 10 * time.Hour}}
	m = run(t, o)
	m.Want(wants(true, "one.example.com", "two.example.com"))
	s := m.failing(t, "two.example.com", "limit of 1 certificates in 10h0m0s for example.com")
	if wait := time.Until(s.NextTry); wait < 9*time.Hour || wait > 11*time.Hour {
		t.Errorf("the next try is in %v", wait)
	}
	if n := a.Orders("two.example.com"); n != 0 {
		t.Errorf("%d orders", n)
	}
}

func TestBackoffOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	const host = "loop.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	a.SetCAA(t, host, "nobody.example")
	dir := t.TempDir()
	for range 3 { // a process that crashes in a loop
		o := options(a, dir)
		o.FirstRetry, o.LastRetry = time.Hour, time.Hour
		m := run(t, o)
		m.Want(wants(true, host))
		m.failing(t, host, "CAA record")
		m.stop()
	}
	if n := a.Orders(host); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
}

func TestAuthorityForgetsTheAccount(t *testing.T) {
	t.Parallel()
	const host = "forgotten.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	m := issue(t, a, options(a, t.TempDir()), host)
	leaf := m.served.leaf(t, host)
	a.Forget(t)
	// The first tries find out, make a new account and learn that the authority does
	// not know the certificate that they replace.
	await(t, "renewal", func() bool { return m.Renew(t.Context(), host) == nil })
	m.issued(t, host, leaf)
}

func TestHostThatLeavesStopsItsOrder(t *testing.T) {
	t.Parallel()
	const host = "left.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	entered, released := make(chan struct{}, 9), make(chan struct{})
	a.SetIntercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/order-plz" {
			return false
		}
		entered <- struct{}{}
		select {
		case <-released:
		case <-r.Context().Done():
		}
		return false
	})
	defer close(released)
	o := options(a, t.TempDir())
	m := run(t, o)
	m.Want(wants(true, host))
	<-entered
	m.Want(nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := o.Storage.Lock(ctx, "issue_cert_"+host); err != nil {
		t.Fatalf("the lock is held on: %v", err)
	}
	if err := o.Storage.Unlock(ctx, "issue_cert_"+host); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Storage.Load(ctx, "sluice/hosts/"+host+".json"); err == nil {
		t.Error("leaving is held against the host")
	}
}

// broken is a storage that can be away.
type broken struct {
	certmagic.Storage
	away atomic.Bool
}

var errAway = errors.New("the storage is away")

func (b *broken) Load(ctx context.Context, key string) ([]byte, error) {
	if b.away.Load() {
		return nil, errAway
	}
	return b.Storage.Load(ctx, key)
}

func (b *broken) Store(ctx context.Context, key string, value []byte) error {
	if b.away.Load() {
		return errAway
	}
	return b.Storage.Store(ctx, key, value)
}

func (b *broken) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	if b.away.Load() {
		return certmagic.KeyInfo{}, errAway
	}
	return b.Storage.Stat(ctx, key)
}

func TestStorageIsAwayAndComesBack(t *testing.T) {
	t.Parallel()
	const host = "away.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	o := options(a, t.TempDir())
	store := &broken{Storage: o.Storage}
	o.Storage = store
	m := issue(t, a, o, host)
	leaf := m.served.leaf(t, host)
	store.away.Store(true)
	if err := m.Renew(t.Context(), host); err == nil || !strings.Contains(err.Error(), "the storage is away") {
		t.Errorf("%v", err)
	}
	m.failing(t, host, "the storage is away")
	if got := m.served.leaf(t, host); got == nil || !got.Equal(leaf) {
		t.Fatal("the certificate is not served on")
	}
	if n := a.Orders(host); n != 1 {
		t.Errorf("%d orders: what cannot be stored must not be ordered", n)
	}
	store.away.Store(false)
	if err := m.Renew(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	m.issued(t, host, leaf)
}

func TestWhatStorageLostIsPutBack(t *testing.T) {
	t.Parallel()
	const host = "lost.example.com"
	for what, lose := range map[string]func(t *testing.T, dir, keyFile string){
		"everything": func(t *testing.T, dir, _ string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		},
		"the key": func(t *testing.T, _, keyFile string) {
			if err := os.Remove(keyFile); err != nil {
				t.Fatal(err)
			}
		},
		"the key's content": func(t *testing.T, _, keyFile string) {
			if err := os.WriteFile(keyFile, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			a := pebbletest.Start(t, pebbletest.Options{})
			dir := filepath.Join(t.TempDir(), "store")
			// A certificate is served while the attempt still writes down how it ended:
			// only a manager that ordered nothing is sure to leave storage alone.
			issue(t, a, options(a, dir), host).stop()
			m := run(t, options(a, dir))
			m.Want(wants(true, host))
			leaf := m.issued(t, host, nil)
			keys, err := filepath.Glob(dir + "/certificates/*/" + host + "/" + host + ".key")
			if err != nil || len(keys) != 1 {
				t.Fatal(keys, err)
			}
			before, err := os.ReadFile(keys[0])
			if err != nil {
				t.Fatal(err)
			}
			lose(t, dir, keys[0])
			await(t, "return of the key", func() bool {
				after, err := os.ReadFile(keys[0])
				return err == nil && bytes.Equal(after, before)
			})
			if got := m.served.leaf(t, host); got == nil || !got.Equal(leaf) || m.served.tells != 1 {
				t.Errorf("what is served changed meanwhile; told %d times", m.served.tells)
			}
			if n := a.Orders(host); n != 1 {
				t.Errorf("%d orders", n)
			}
		})
	}
}

func TestDamagedStorageIsOrderedAnew(t *testing.T) {
	t.Parallel()
	const host = "damaged.example.com"
	a := pebbletest.Start(t, pebbletest.Options{})
	dir := t.TempDir()
	m := issue(t, a, options(a, dir), host)
	m.stop()
	files, err := filepath.Glob(dir + "/certificates/*/" + host + "/*")
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m = run(t, options(a, dir))
	m.Want(wants(true, host))
	await(t, "second order", func() bool { return a.Orders(host) > 1 })
}
