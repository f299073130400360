package main

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluicegw/sluice/compile"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/tls"
	"github.com/sluicegw/sluice/tls/staple"
)

// pairs are the certificates that servers show, kept by what changes.
type pairs struct {
	mu   sync.Mutex
	held map[model.Credential]*tls.Certificate
	// next is when one of them next begins or ends to be valid; zero if none does.
	next time.Time
	// stapled are those with an OCSP responder.
	stapled map[model.Credential]staple.Certificate
}

func newPairs() *pairs {
	return &pairs{held: map[model.Credential]*tls.Certificate{}, stapled: map[model.Credential]staple.Certificate{}}
}

// take keeps what changed, and returns the certificates that want a staple and
// whether those changed.
func (p *pairs) take(changed map[model.Credential]*tls.Certificate, now time.Time) ([]staple.Certificate, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	other := false
	for key, pair := range changed {
		if _, was := p.stapled[key]; was {
			other = true
			delete(p.stapled, key)
		}
		if pair == nil {
			delete(p.held, key)
			continue
		}
		p.held[key] = pair
		p.note(pair, now)
		if pair.Responder() != "" {
			other = true
			p.stapled[key] = staple.Certificate{ID: pair.ID(), ChainPEM: pair.ChainPEM()}
		}
	}
	if !other {
		return nil, false
	}
	out := make([]staple.Certificate, 0, len(p.stapled))
	for _, c := range p.stapled {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b staple.Certificate) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(out, func(a, b staple.Certificate) bool { return a.ID == b.ID }), true
}

// note has next follow a certificate.
func (p *pairs) note(pair *tls.Certificate, now time.Time) {
	for _, at := range []time.Time{pair.Validity().NotBefore, pair.Validity().NotAfter} {
		if at.After(now) && (p.next.IsZero() || at.Before(p.next)) {
			p.next = at
		}
	}
}

// due returns when a certificate next begins or ends to be valid.
func (p *pairs) due() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

// judge has the compiler look again at the certificates that began or ended to be
// valid since they were due.
func (p *pairs) judge(now time.Time) compile.Facts {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := p.next
	f := compile.Facts{Now: now}
	p.next = time.Time{}
	for key, pair := range p.held {
		for _, at := range []time.Time{pair.Validity().NotBefore, pair.Validity().NotAfter} {
			if !at.Before(since) && !at.After(now) {
				f.Judge = append(f.Judge, key)
			}
		}
		p.note(pair, now)
	}
	return f
}

// declared returns the certificates that objects name, in the order of their
// sources.
func (p *pairs) declared() []declaredPair {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []declaredPair
	for key, pair := range p.held {
		if key.Managed == "" {
			out = append(out, declaredPair{source: key.String(), pair: pair})
		}
	}
	slices.SortFunc(out, func(a, b declaredPair) int { return strings.Compare(a.source, b.source) })
	return out
}

// declaredPair is a certificate that an object names.
type declaredPair struct {
	source string
	pair   *tls.Certificate
}
