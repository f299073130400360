package acme

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicegw/sluice/tls/acme/budget"
)

// claim marks a host as busy and returns what runs the attempt. The mutex is held
// by the caller of claim, not of what it returns.
func (m *Manager) claim(ctx context.Context, h *host, forced bool) func() error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(m.life, cancel)
	h.busy, h.cancel = make(chan struct{}), cancel
	how, ok := m.way(h)
	a := &attempt{manager: m, host: h.name, how: how, forced: forced, failures: h.record.Failures}
	if h.cert != nil {
		a.replaces = h.cert.print
	}
	return func() error {
		defer stop()
		defer cancel()
		err := errNeedsDNS
		if ok {
			err = a.run(ctx)
		}
		m.refresh(m.life, []string{h.name}, refreshment{tell: true, records: true})
		if err != nil {
			defer m.options.OnFailure(h.name)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.conclude(h, a, err)
		close(h.busy)
		h.busy, h.cancel = nil, nil
		m.forget()
		return err
	}
}

// errNeedsDNS says why a wildcard is not ordered.
var errNeedsDNS = errors.New("a wildcard is proven by DNS-01 only; configure how DNS records are written, or name its hosts one by one")

// conclude sets when the host is tried next, as far as storage does not say it. The
// mutex is held.
func (m *Manager) conclude(h *host, a *attempt, err error) {
	now := m.options.Now()
	var refused *budget.RefusedError
	var later *laterError
	switch {
	case err == nil && (h.cert == nil || h.cert.print == a.replaces):
		err = fmt.Errorf("the new certificate of %s cannot be read from storage", h.name)
	case err == nil:
		h.own, h.holdError = 0, ""
		return
	case errors.As(err, &refused):
		h.hold, h.holdError = refused.Until, refused.Error()
		return
	case errors.As(err, &later), a.recorded, errors.Is(err, context.Canceled):
		h.holdError = ""
		return
	}
	h.own++
	h.hold = now.Add(retryIn(h.name, h.own, m.options.FirstRetry, m.options.LastRetry))
	h.holdError = caWords(err)
	m.options.Log.Warn("certificate cannot be ordered", "host", h.name, "error", h.holdError, "next", h.hold)
}
