package acme

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddyserver/certmagic"
)

// Revoke has the authority revoke the certificate of a host. If the host is wanted
// a new one is ordered first, so that there is no time without; if that fails the
// old one is revoked and withdrawn all the same, and the error says so.
func (m *Manager) Revoke(ctx context.Context, name string) error {
	m.mu.Lock()
	var old *certificate
	wanted := false
	if h := m.hosts[key(name)]; h != nil {
		old, wanted = h.cert, h.wanted
	}
	m.mu.Unlock()
	if old == nil {
		return fmt.Errorf("revoke the certificate of %s: there is none", name)
	}
	issuer := m.byKey[old.issuer]
	if issuer == nil {
		return fmt.Errorf("revoke the certificate of %s: it is from %s, which is not configured", name, old.issuer)
	}
	var renewed error
	if wanted {
		renewed = m.Renew(ctx, name)
	}
	// The email address, by which certmagic finds the account.
	err := issuer.acme.PreCheck(ctx, []string{old.host}, false)
	if err == nil {
		const unspecified = 0
		err = issuer.acme.Revoke(ctx, certmagic.CertificateResource{CertificatePEM: old.chain}, unspecified)
	}
	if err == nil {
		err = m.withdraw(ctx, old)
	}
	if err != nil {
		return fmt.Errorf("revoke the certificate of %s: %w", name, errors.Join(err, renewed))
	}
	m.options.Log.Info("certificate is revoked", "host", old.host, "issuer", issuer.name)
	m.refresh(ctx, []string{old.host}, refreshment{tell: true, records: true})
	m.nudge()
	if renewed != nil {
		return fmt.Errorf("the certificate of %s is revoked, and there is no new one: %w", name, renewed)
	}
	return nil
}

// withdraw keeps every process from serving a certificate that was revoked.
func (m *Manager) withdraw(ctx context.Context, old *certificate) error {
	return m.shelf.locked(ctx, old.host, func() error {
		r, err := loadRecord(ctx, m.options.Storage, old.host)
		if err != nil {
			return err
		}
		// Those before are long forgotten by all.
		const kept = 10
		r.Revoked = append(r.Revoked[max(0, len(r.Revoked)-kept+1):], old.print)
		if err := storeRecord(ctx, m.options.Storage, old.host, r); err != nil {
			return err
		}
		stored, err := m.shelf.readFrom(ctx, old.issuer, old.host)
		if err != nil || stored == nil || stored.print != old.print {
			return err
		}
		return m.shelf.remove(ctx, old.issuer, old.host)
	})
}
