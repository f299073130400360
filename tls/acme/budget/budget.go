// Package budget keeps an ACME client within the limits of its authority.
//
// What goes in is the wish to order a certificate for a host, what comes out is
// a grant, or the time from which there is one and why. The counts are kept in
// shared storage, so that neither a process that crashes in a loop nor many
// replicas can burn the limits; a grant is paid before the order goes out. This
// package alone decides what an order costs.
package budget

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/net/publicsuffix"
)

// Limit is a token bucket: Count at once, and Count again spread over Per. The
// zero value has no limit.
type Limit struct {
	Count int
	Per   time.Duration
}

// Limits are those of one authority.
type Limits struct {
	// Orders counts new orders of the account.
	Orders Limit
	// Domain counts certificates of a registered domain: example.co.uk.
	Domain Limit
	// Failures counts authorizations of a host that failed.
	Failures Limit
}

// LetsEncrypt returns the limits of Let's Encrypt, which others are not known to
// fall below: letsencrypt.org/docs/rate-limits.
func LetsEncrypt() Limits {
	return Limits{
		Orders:   Limit{300, 3 * time.Hour},
		Domain:   Limit{50, 7 * 24 * time.Hour},
		Failures: Limit{5, time.Hour},
	}
}

// Ledger keeps the counts of one authority.
type Ledger struct {
	// Storage is shared by the replicas; Prefix is where in it the counts are.
	Storage certmagic.Storage
	Prefix  string
	Limits  Limits
	Now     func() time.Time
}

// Order is what is to be paid.
type Order struct {
	Host string
	// Renewal is set when the order replaces a certificate of the same authority:
	// that is not counted for the domain.
	Renewal bool
}

// RefusedError says that an order has to wait.
type RefusedError struct {
	Until time.Time
	Limit string // "50 certificates in 168h0m0s for example.com"
}

// Error implements error.
func (e *RefusedError) Error() string {
	return "the authority's limit of " + e.Limit + " is used up until " + e.Until.UTC().Format(time.RFC3339)
}

// Outcome is how an order ended.
type Outcome int

// The outcomes.
const (
	Issued Outcome = iota
	// NotIssued is an order that failed for another reason than Unauthorized.
	NotIssued
	// Unauthorized is an order for which the authority found no proof that the
	// host is ours.
	Unauthorized
)

// bucket is what is left of a limit.
type bucket struct {
	Tokens float64   `json:"tokens"`
	At     time.Time `json:"at"`
}

// charge is one bucket that an order takes from, or needs to find filled.
type charge struct {
	name  string
	limit Limit
	what  string
	takes float64
}

// Take pays for an order, or returns a *RefusedError and takes nothing.
func (l *Ledger) Take(ctx context.Context, o Order) error {
	return l.locked(ctx, func() error {
		var paid []func() error
		for _, c := range l.charges(o) {
			b, err := l.load(ctx, c)
			if err != nil {
				return err
			}
			if b.Tokens < 1 {
				wait := time.Duration((1 - b.Tokens) * float64(c.limit.Per) / float64(c.limit.Count))
				return &RefusedError{Until: b.At.Add(wait.Round(time.Second) + time.Second), Limit: c.what}
			}
			b.Tokens -= c.takes
			if c.takes > 0 {
				paid = append(paid, func() error { return l.store(ctx, c, b) })
			}
		}
		for _, pay := range paid {
			if err := pay(); err != nil {
				return err
			}
		}
		return nil
	})
}

// Settle tells how an order ended that was paid: what the authority does not
// count is given back, and what it counts in addition is taken.
func (l *Ledger) Settle(ctx context.Context, o Order, how Outcome) error {
	if how == Issued {
		return nil
	}
	return l.locked(ctx, func() error {
		for _, c := range l.charges(o) {
			change := 0.0
			switch {
			case c.name == "domain":
				change = c.takes
			case c.name == "failures" && how == Unauthorized:
				change = -1
			}
			if change == 0 {
				continue
			}
			b, err := l.load(ctx, c)
			if err != nil {
				return err
			}
			b.Tokens = min(max(b.Tokens+change, 0), float64(c.limit.Count))
			if err := l.store(ctx, c, b); err != nil {
				return err
			}
		}
		return nil
	})
}

// charges lists the buckets of an order that have a limit.
func (l *Ledger) charges(o Order) []charge {
	domain := Domain(o.Host)
	all := []charge{
		{"orders", l.Limits.Orders, "orders in %v", 1},
		{"domain", l.Limits.Domain, "certificates in %v for " + domain, 1},
		{"failures", l.Limits.Failures, "failed authorizations in %v for " + o.Host, 0},
	}
	if o.Renewal {
		all[1].takes = 0
	}
	var out []charge
	for _, c := range all {
		if c.limit.Count <= 0 || c.name == "domain" && o.Renewal {
			continue
		}
		c.what = fmt.Sprintf("%d "+c.what, c.limit.Count, c.limit.Per)
		out = append(out, c)
	}
	return out
}

// Domain returns the registered domain of a host, by which authorities count:
// "example.co.uk" for "*.shop.example.co.uk".
func Domain(host string) string {
	host = strings.TrimPrefix(host, "*.")
	domain, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return host // it is a public suffix itself
	}
	return domain
}

// key returns where a bucket is stored. The host or domain is the last word of
// what the limit counts.
func (l *Ledger) key(c charge) string {
	name := c.name
	if c.name != "orders" {
		name = path.Join(c.name, certmagic.StorageKeys.Safe(c.what[strings.LastIndexByte(c.what, ' ')+1:]))
	}
	return path.Join(l.Prefix, name+".json")
}

// load returns a bucket filled up to now.
func (l *Ledger) load(ctx context.Context, c charge) (bucket, error) {
	now := l.Now()
	full := bucket{Tokens: float64(c.limit.Count), At: now}
	value, err := l.Storage.Load(ctx, l.key(c))
	if errors.Is(err, fs.ErrNotExist) {
		return full, nil
	}
	if err != nil {
		return bucket{}, fmt.Errorf("load the budget of an authority: %w", err)
	}
	var b bucket
	if json.Unmarshal(value, &b) != nil || math.IsNaN(b.Tokens) {
		return full, nil // nobody can repair it, and the authority counts as well
	}
	if passed := now.Sub(b.At); passed > 0 {
		b.Tokens = min(full.Tokens, b.Tokens+float64(passed)*full.Tokens/float64(c.limit.Per))
	}
	b.At = now
	return b, nil
}

func (l *Ledger) store(ctx context.Context, c charge, b bucket) error {
	value, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("store the budget of an authority: %w", err)
	}
	if err := l.Storage.Store(ctx, l.key(c), value); err != nil {
		return fmt.Errorf("store the budget of an authority: %w", err)
	}
	return nil
}

// locked runs f while nobody else changes the counts.
func (l *Ledger) locked(ctx context.Context, f func() error) error {
	if l.Limits == (Limits{}) {
		return nil
	}
	name := "budget_" + strings.ReplaceAll(l.Prefix, "/", "_")
	if err := l.Storage.Lock(ctx, name); err != nil {
		return fmt.Errorf("lock the budget of an authority: %w", err)
	}
	return errors.Join(f(), l.Storage.Unlock(ctx, name))
}
