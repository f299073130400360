package acme

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/sluicegw/sluice/tls/acme/budget"
)

const (
	// attemptTimeout bounds one attempt, waiting for peers included.
	attemptTimeout = 15 * time.Minute
	// cleanTimeout bounds what follows an attempt, its own end notwithstanding.
	cleanTimeout = 15 * time.Second
)

// eventFunc is how certmagic tells what happens.
type eventFunc = func(ctx context.Context, event string, data map[string]any) error

// errSettled says that storage already has what an attempt is for.
var errSettled = errors.New("another process got the certificate")

// laterError says that a peer failed, and when the next try is.
type laterError struct{ record record }

// Error implements error.
func (e *laterError) Error() string { return e.record.Error }

// attempt is one try to get a certificate, at each authority in turn.
type attempt struct {
	manager *Manager
	id      string
	host    string
	how     way
	// replaces is the print of the certificate that is no longer good enough; ""
	// if there is none.
	replaces string
	failures int  // before this attempt
	forced   bool // do not wait for the next try
	issuer   *issuer
	words    []string // of the authorities that refused
	recorded bool     // the failure is in storage
	paid     *budget.Order
}

// run tries all authorities. The error is nil once storage has a certificate other
// than the one to be replaced.
func (a *attempt) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	a.id = rand.Text()
	var refused *budget.RefusedError
	var failed error
	for _, a.issuer = range a.manager.issuers {
		err := a.order(ctx)
		var r *budget.RefusedError
		var later *laterError
		switch {
		case err == nil, errors.Is(err, errSettled):
			return nil
		case errors.As(err, &later):
			return later
		case ctx.Err() != nil:
			return fmt.Errorf("order a certificate for %s: %w", a.host, ctx.Err())
		case errors.As(err, &r):
			a.manager.metrics.order(a.issuer.name, "refused")
			if refused == nil || r.Until.Before(refused.Until) {
				refused = r
			}
		default:
			failed = err
		}
	}
	if failed != nil {
		return failed
	}
	return refused
}

// order has certmagic order at one authority. It holds the lock of the host
// meanwhile, and tells event what it does.
func (a *attempt) order(ctx context.Context) error {
	err := a.orderOnce(ctx, a.failures)
	if a.replaces != "" && a.failures != unreplacing && refusesPredecessor(err) && ctx.Err() == nil {
		err = a.orderOnce(ctx, unreplacing)
	}
	return err
}

// unreplacing is the number of failures after which certmagic does not name the
// certificate that is replaced: an authority may have forgotten it, and refuses the
// whole order then.
const unreplacing = 2

func (a *attempt) orderOnce(ctx context.Context, failures int) error {
	ctx = context.WithValue(ctx, attemptKey{}, a)
	ctx = context.WithValue(ctx, certmagic.AttemptsCtxKey, &failures)
	a.paid = nil
	err := a.issuer.ways[a.how].RenewCertSync(ctx, a.host, true)
	if a.paid != nil {
		// The order ended between the events: nothing was issued.
		a.settle(ctx, budget.NotIssued)
	}
	return err
}

// event is told by certmagic, which holds the lock of the host, what it does.
func event(ctx context.Context, name string, data map[string]any) error {
	a := attemptOf(ctx)
	if a == nil {
		return nil
	}
	switch name {
	case "cert_obtaining":
		return a.begin(ctx)
	case "cert_failed":
		if err, ok := data["error"].(error); ok {
			a.failed(ctx, err)
		}
	case "cert_obtained":
		a.succeeded(ctx)
	}
	return nil
}

// begin stops an order that is not needed, or not allowed yet.
func (a *attempt) begin(ctx context.Context) error {
	m := a.manager
	c, err := m.shelf.read(ctx, a.host)
	if err != nil && !errors.Is(err, errUnusable) {
		return err
	}
	r, err := loadRecord(ctx, m.options.Storage, a.host)
	if err != nil {
		return err
	}
	now := m.options.Now()
	if c != nil && c.print != a.replaces && !c.expired(now) && !r.revoked(c) && m.byKey[c.issuer] != nil {
		return errSettled
	}
	if !a.forced && r.Attempt != a.id && r.Next.After(now) {
		return &laterError{r}
	}
	order := budget.Order{Host: a.host, Renewal: c != nil && c.issuer == a.issuer.key}
	if err := a.issuer.ledger.Take(ctx, order); err != nil {
		return err
	}
	a.paid = &order
	m.options.Log.Info("certificate is ordered", "host", a.host, "issuer", a.issuer.name, "renewal", order.Renewal)
	return nil
}

// failed writes down that an authority refused, before a peer can try.
func (a *attempt) failed(ctx context.Context, err error) {
	m := a.manager
	a.settleFailure(ctx, err)
	if ctx.Err() != nil {
		return // nobody wants it any more: no fault of the authority
	}
	m.metrics.order(a.issuer.name, "failed")
	words := caWords(err)
	a.words = append(a.words, a.issuer.name+": "+words)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	r, err := loadRecord(ctx, m.options.Storage, a.host)
	if err == nil {
		if r.Attempt != a.id {
			r.Failures++
		}
		r.Attempt, r.Error = a.id, strings.Join(a.words, "\n")
		r.Next = m.options.Now().Add(retryIn(a.host, r.Failures, m.options.FirstRetry, m.options.LastRetry))
		if named := namedRetry(words); len(m.issuers) == 1 && named.After(r.Next) {
			r.Next = named
		}
		err = storeRecord(ctx, m.options.Storage, a.host, r)
	}
	a.recorded = err == nil
	m.options.Log.Warn("certificate is refused", "host", a.host, "issuer", a.issuer.name, "error", words, "next", r.Next)
}

// succeeded writes down that there is a certificate.
func (a *attempt) succeeded(ctx context.Context) {
	m := a.manager
	a.settle(ctx, budget.Issued)
	m.metrics.order(a.issuer.name, "issued")
	m.options.Log.Info("certificate is issued", "host", a.host, "issuer", a.issuer.name)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	r, err := loadRecord(ctx, m.options.Storage, a.host)
	if err == nil && (r.Failures > 0 || r.Error != "") {
		err = storeRecord(ctx, m.options.Storage, a.host, record{Revoked: r.Revoked})
	}
	if err != nil {
		m.options.Log.Warn("certificate storage cannot be written", "host", a.host, "error", err)
	}
}

// settleFailure tells the ledger what failed.
func (a *attempt) settleFailure(ctx context.Context, err error) {
	if !unauthorized(err) {
		a.settle(ctx, budget.NotIssued)
		return
	}
	a.settle(ctx, budget.Unauthorized)
	if a.how != wayHTTP {
		return
	}
	// Both kinds of challenge were tried, each by an order of its own. If there is
	// nothing left to pay the second with, the next attempt waits anyhow.
	second := budget.Order{Host: a.host}
	if a.issuer.ledger.Take(ctx, second) == nil {
		a.paid = &second
		a.settle(ctx, budget.Unauthorized)
	}
}

// settle tells the ledger how an order ended.
func (a *attempt) settle(ctx context.Context, how budget.Outcome) {
	if a.paid == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	if err := a.issuer.ledger.Settle(ctx, *a.paid, how); err != nil {
		a.manager.options.Log.Warn("certificate storage cannot be written", "host", a.host, "error", err)
	}
	a.paid = nil
}
