package budget_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sluicegw/sluice/tls/acme/budget"
	"github.com/sluicegw/sluice/tls/acme/storage"
)

// clock is set by the test.
type clock struct{ now time.Time }

func ledger(t *testing.T, limits budget.Limits) (*budget.Ledger, *clock) {
	t.Helper()
	c := &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	return &budget.Ledger{
		Storage: storage.NewFile(t.TempDir()), Prefix: "budget/ca", Limits: limits, Now: func() time.Time { return c.now },
	}, c
}

// refused returns until when an order has to wait; zero if it has not.
func refused(t *testing.T, l *budget.Ledger, o budget.Order) time.Time {
	t.Helper()
	err := l.Take(t.Context(), o)
	var r *budget.RefusedError
	switch {
	case err == nil:
		return time.Time{}
	case errors.As(err, &r):
		return r.Until
	}
	t.Fatal(err)
	return time.Time{}
}

func TestDomainLimitCountsCertificatesOfARegisteredDomain(t *testing.T) {
	l, c := ledger(t, budget.Limits{Domain: budget.Limit{Count: 2, Per: 2 * time.Hour}})
	a := budget.Order{Host: "a.example.co.uk"}
	wildcard := budget.Order{Host: "*.example.co.uk"}
	for _, o := range []budget.Order{a, wildcard} {
		if until := refused(t, l, o); !until.IsZero() {
			t.Fatalf("%s has to wait until %v", o.Host, until)
		}
	}
	until := refused(t, l, budget.Order{Host: "c.example.co.uk"})
	if wait := until.Sub(c.now); wait < time.Hour || wait > time.Hour+2*time.Second {
		t.Errorf("the third has to wait %v, want an hour", wait)
	}
	if until := refused(t, l, budget.Order{Host: "other.co.uk"}); !until.IsZero() {
		t.Errorf("another domain has to wait until %v", until)
	}
	if until := refused(t, l, budget.Order{Host: a.Host, Renewal: true}); !until.IsZero() {
		t.Errorf("a renewal has to wait until %v", until)
	}
	// Nothing was issued after all: the authority did not count it.
	if err := l.Settle(t.Context(), wildcard, budget.NotIssued); err != nil {
		t.Fatal(err)
	}
	if until := refused(t, l, a); !until.IsZero() {
		t.Errorf("after one came back, it has to wait until %v", until)
	}
	c.now = c.now.Add(time.Hour + time.Second)
	if until := refused(t, l, a); !until.IsZero() {
		t.Errorf("after an hour it has to wait until %v", until)
	}
}

func TestFailuresOfAHostStopItsOrders(t *testing.T) {
	l, c := ledger(t, budget.Limits{Failures: budget.Limit{Count: 5, Per: time.Hour}})
	o := budget.Order{Host: "a.example.com"}
	for i := range 5 {
		if until := refused(t, l, o); !until.IsZero() {
			t.Fatalf("order %d has to wait until %v", i, until)
		}
		if err := l.Settle(t.Context(), o, budget.Unauthorized); err != nil {
			t.Fatal(err)
		}
	}
	if wait := refused(t, l, o).Sub(c.now); wait < 12*time.Minute || wait > 13*time.Minute {
		t.Errorf("it has to wait %v, want 12 minutes", wait)
	}
	if until := refused(t, l, budget.Order{Host: "b.example.com"}); !until.IsZero() {
		t.Errorf("another host has to wait until %v", until)
	}
}

func TestACrashLoopSpendsWhatWasGrantedOnce(t *testing.T) {
	dir := t.TempDir()
	granted := 0
	for i := range 20 { // each a process that dies after it ordered
		l := &budget.Ledger{
			Storage: storage.NewFile(dir), Prefix: "budget/ca", Now: time.Now,
			Limits: budget.Limits{Orders: budget.Limit{Count: 7, Per: time.Hour}},
		}
		if refused(t, l, budget.Order{Host: fmt.Sprintf("h%d.example.com", i)}).IsZero() {
			granted++
		}
	}
	if granted != 7 {
		t.Errorf("%d orders were granted, want 7", granted)
	}
}

func TestARefusalTakesNothing(t *testing.T) {
	l, _ := ledger(t, budget.Limits{
		Orders: budget.Limit{Count: 2, Per: time.Hour}, Domain: budget.Limit{Count: 1, Per: time.Hour},
	})
	for host, free := range map[string]bool{"a.example.com": true} {
		if got := refused(t, l, budget.Order{Host: host}).IsZero(); got != free {
			t.Fatalf("%s: free %v", host, got)
		}
	}
	for range 3 { // the domain is spent; the account must not pay
		if refused(t, l, budget.Order{Host: "b.example.com"}).IsZero() {
			t.Fatal("granted")
		}
	}
	if until := refused(t, l, budget.Order{Host: "a.example.net"}); !until.IsZero() {
		t.Errorf("the account paid for refusals: wait until %v", until)
	}
}

func TestNoLimitsNeedNoStorage(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l, _ := ledger(t, budget.Limits{})
	if err := l.Take(ctx, budget.Order{Host: "a.example.com"}); err != nil {
		t.Error(err)
	}
}
