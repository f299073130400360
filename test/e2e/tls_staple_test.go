package e2e

import (
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// responder answers OCSP requests for the certificates of an authority.
type responder struct {
	t  *testing.T
	ca *authority
	*httptest.Server
	mu     sync.Mutex
	status int           // ocsp.Good, ocsp.Revoked; -1 answers 503
	life   time.Duration // of an answer
	asked  int
	last   *ocsp.Response
}

func newResponder(t *testing.T, ca *authority) *responder {
	t.Helper()
	r := &responder{t: t, ca: ca, status: ocsp.Good, life: time.Hour}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// says has the responder answer otherwise from now on.
func (r *responder) says(status int, life time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status, r.life = status, life
}

func (r *responder) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if r.status < 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	now := time.Now().Truncate(time.Second)
	template := ocsp.Response{
		Status: r.status, SerialNumber: big.NewInt(r.ca.next), ThisUpdate: now, NextUpdate: now.Add(r.life),
		RevokedAt: now, RevocationReason: ocsp.KeyCompromise,
	}
	der, err := ocsp.CreateResponse(r.ca.cert, r.ca.cert, template, r.ca.key)
	if err == nil {
		r.last, err = ocsp.ParseResponse(der, r.ca.cert)
	}
	if err != nil {
		r.t.Error(err)
		return
	}
	_, _ = w.Write(der)
}

// stapled is a check that the handshake brought an answer of the authority that is
// younger than after; zero takes any.
func stapled(ca *authority, after time.Time) func(echo) error {
	return func(a echo) error {
		if len(a.tls.OCSPResponse) == 0 {
			return errors.New("no OCSP response is stapled")
		}
		r, err := ocsp.ParseResponse(a.tls.OCSPResponse, ca.cert)
		switch {
		case err != nil:
			return fmt.Errorf("the staple cannot be read: %w", err)
		case r.Status != ocsp.Good, r.SerialNumber.Cmp(a.tls.PeerCertificates[0].SerialNumber) != 0:
			return fmt.Errorf("the staple says %d of %v", r.Status, r.SerialNumber)
		case !r.ThisUpdate.After(after):
			return fmt.Errorf("the staple is of %v, want a younger one", r.ThisUpdate)
		}
		return nil
	}
}

func bare(a echo) error {
	if len(a.tls.OCSPResponse) > 0 {
		return errors.New("an OCSP response is stapled")
	}
	return nil
}

// A certificate with a responder is stapled, and stapled anew before the answer
// ends; one without is not. One that must be stapled is closed until it is.
func TestTLSStaples(t *testing.T) { layouts(t, staples) }

func staples(t *testing.T, metadata string) {
	ca, plain, strict := newAuthority(t), newAuthority(t), newAuthority(t)
	good, late := newResponder(t, ca), newResponder(t, strict)
	good.says(ocsp.Good, 3*time.Second)
	late.says(-1, 0)
	with := func(a *authority, o order) leaf {
		l := a.sign(o)
		l.certPEM += a.text(a.file) // the issuer signs the answers
		return l
	}
	w := newWorld(t, map[string]string{
		"gateway.yaml": secured(metadata, simple("with", "with.test"), simple("without", "without.test"), simple("must", "must.test")),
		"routes.yaml":  everywhere(newOrigin(t, "o")),
		"with.yaml":    with(ca, order{names: []string{"with.test"}, responder: good.URL}).secret("with"),
		"without.yaml": plain.issue("without.test").secret("without"),
		"must.yaml":    with(strict, order{names: []string{"must.test"}, responder: late.URL, mustStaple: true}).secret("must"),
	}).run().settled()
	w.visited(visit{caller: caller{sni: "with.test", trust: ca}, check: stapled(ca, time.Time{})})
	w.visits(
		visit{caller: caller{sni: "without.test", trust: plain}, check: bare},
		visit{name: "must be stapled", caller: caller{sni: "must.test", trust: strict}, code: refused},
	)
	// Handshakes bring answers that are ever younger.
	w.visited(visit{caller: caller{sni: "with.test", trust: ca}, check: stapled(ca, time.Now())})
	// What may not be shown without is shown once there is an answer.
	late.says(ocsp.Good, time.Hour)
	w.visited(visit{caller: caller{sni: "must.test", trust: strict}, check: stapled(strict, time.Time{})})
	// An answer that the certificate is revoked is not shown to anybody.
	good.says(ocsp.Revoked, time.Hour)
	w.visited(visit{caller: caller{sni: "with.test", trust: ca}, check: bare})
}
