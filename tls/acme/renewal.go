package acme

import (
	"context"
	stdtls "crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddyserver/certmagic"
	acmeproto "github.com/mholt/acmez/v3/acme"
)

const (
	// renewalJitter is the part of the time before or after a renewal, whichever is
	// shorter, by which it may come earlier, so that what was issued together is not
	// renewed together.
	renewalJitter = 0.1
	// wishPause is the least time between two looks at an authority's wish, RFC
	// 9773 section 4.3.2, unless the options say less.
	wishPause = time.Minute
	// wishTimeout bounds one look.
	wishTimeout = time.Minute
)

// wish is when an authority wants a certificate renewed: RFC 9773.
type wish struct {
	Print string    `json:"print"` // of the certificate
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	// Next is when the authority is to be asked again.
	Next time.Time `json:"next"`
}

func wishOf(c *certificate, info acmeproto.RenewalInfo) wish {
	w := wish{Print: c.print}
	if info.HasWindow() && info.SuggestedWindow.End.After(info.SuggestedWindow.Start) {
		w.Start, w.End = info.SuggestedWindow.Start, info.SuggestedWindow.End
	}
	if info.RetryAfter != nil {
		w.Next = *info.RetryAfter
	}
	return w
}

// renewal returns when a certificate is renewed: with ratio of its life left, a
// little earlier for some, or when the authority wants it if that is earlier.
func renewal(c *certificate, ratio float64, w wish) time.Time {
	life := c.leaf.NotAfter.Sub(c.leaf.NotBefore)
	left := time.Duration(float64(life) * ratio)
	early := time.Duration(float64(min(left, life-left)) * renewalJitter * c.fraction)
	at := c.leaf.NotAfter.Add(-left - early)
	if w.Print != c.print || w.Start.IsZero() {
		return at
	}
	wanted := w.Start.Add(time.Duration(float64(w.End.Sub(w.Start)) * c.fraction))
	if wanted.Before(at) {
		return wanted
	}
	return at
}

func wishKey(host string) string {
	return prefix + "renewal/" + certmagic.StorageKeys.Safe(host) + ".json"
}

// storedWish returns what any process learnt last of a certificate.
func storedWish(ctx context.Context, s certmagic.Storage, c *certificate) (wish, error) {
	value, err := s.Load(ctx, wishKey(c.host))
	if errors.Is(err, fs.ErrNotExist) {
		return wish{}, nil
	}
	if err != nil {
		return wish{}, fmt.Errorf("load the renewal of %s: %w", c.host, err)
	}
	var w wish
	if json.Unmarshal(value, &w) != nil || w.Print != c.print {
		return wish{}, nil
	}
	return w, nil
}

// ask learns the wish of the authority for a certificate: from storage if another
// process asked meanwhile, else from the authority. Until next it is not asked
// again, whether it answers or not.
func (m *Manager) ask(ctx context.Context, c *certificate, next time.Time) wish {
	ctx, cancel := context.WithTimeout(ctx, wishTimeout)
	defer cancel()
	now := m.options.Now()
	last := wish{Print: c.print}
	if stored, err := storedWish(ctx, m.options.Storage, c); err == nil && stored.Print != "" {
		if stored.Next.After(now) {
			return m.bounded(stored, next)
		}
		last = stored
	}
	issuer := m.byKey[c.issuer]
	if issuer == nil {
		last.Next = next
		return last
	}
	info, err := issuer.acme.GetRenewalInfo(ctx, certmagic.Certificate{Certificate: stdtls.Certificate{Leaf: c.leaf}})
	if err != nil {
		m.options.Log.Debug("no renewal information", "host", c.host, "error", err)
		last.Next = next
		return last
	}
	w := m.bounded(wishOf(c, info), next)
	value, err := json.Marshal(w)
	if err == nil {
		err = m.options.Storage.Store(ctx, wishKey(c.host), value)
	}
	if err != nil {
		m.options.Log.Debug("renewal information is not shared", "host", c.host, "error", err)
	}
	return w
}

// bounded has the next look come neither too early nor later than next.
func (m *Manager) bounded(w wish, next time.Time) wish {
	earliest := m.options.Now().Add(min(wishPause, m.options.RenewalInfoInterval))
	if w.Next.Before(earliest) {
		w.Next = earliest
	}
	if w.Next.After(next) {
		w.Next = next
	}
	return w
}
