package acme

import (
	"context"
	"errors"
	"time"

	"github.com/sluicegw/sluice/model"
)

// restoreAfter is for how many looks a certificate has to be gone from storage
// before it is put back.
const restoreAfter = 3

// repairTimeout bounds how long it is waited for a peer that holds the lock.
const repairTimeout = time.Second

// refreshment is a look at storage.
type refreshment struct {
	tell    bool // OnChange
	records bool // read the records of all hosts, not only of those in need
}

// view is what one look showed.
type view struct {
	stamp    string
	cert     *certificate
	record   record
	unusable int
}

// refresh brings hosts to what storage says, and tells what changed.
func (m *Manager) refresh(ctx context.Context, names []string, o refreshment) {
	m.reading.Lock()
	defer m.reading.Unlock()
	changed := map[string]*model.ManagedCertificate{}
	var removed []string
	var fault error
	for _, name := range names {
		before, ok := m.before(name)
		if !ok {
			continue
		}
		after, err := m.see(ctx, name, before, o.records)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			fault = err
			// What is served stays; only time takes it away.
			after = before
		}
		if after.cert != nil && after.cert.expired(m.options.Now()) {
			after.cert = nil
		}
		m.after(name, after, err == nil)
		switch {
		case after.cert == nil && before.cert != nil:
			removed = append(removed, name)
		case after.cert != nil && !after.cert.same(before.cert):
			changed[name] = after.cert.model()
		}
	}
	m.report(fault, len(names))
	if o.tell && len(changed)+len(removed) > 0 {
		m.options.OnChange(changed, removed)
	}
}

// report logs when storage begins and ceases to be readable.
func (m *Manager) report(fault error, hosts int) {
	if trouble := fault != nil; hosts > 0 && trouble != m.trouble {
		m.trouble = trouble
		if trouble {
			m.options.Log.Warn("certificate storage cannot be read", "error", fault)
			return
		}
		m.options.Log.Info("certificate storage can be read again")
	}
}

// before returns what is known of a host.
func (m *Manager) before(name string) (view, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hosts[name]
	if h == nil {
		return view{}, false
	}
	return view{h.stamp, h.cert, h.record, h.unusable}, true
}

// after takes over what was seen.
func (m *Manager) after(name string, v view, read bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hosts[name]
	if h == nil {
		return
	}
	if v.cert != nil && v.cert != h.cert {
		h.wish = m.bounded(v.cert.wish, m.options.Now().Add(m.options.RenewalInfoInterval))
	}
	h.read = h.read || read
	h.stamp, h.cert, h.record, h.unusable = v.stamp, v.cert, v.record, v.unusable
}

// see looks at storage for one host.
func (m *Manager) see(ctx context.Context, name string, v view, records bool) (view, error) {
	stamp, err := m.shelf.stamp(ctx, name)
	if err != nil {
		return v, err
	}
	needy := v.cert == nil || v.record.Failures > 0 || v.unusable > 0 || m.due(name)
	if stamp == v.stamp && v.unusable == 0 && !needy && !records {
		return v, nil
	}
	if v.record, err = loadRecord(ctx, m.options.Storage, name); err != nil {
		return v, err
	}
	if v.cert != nil && v.record.revoked(v.cert) {
		v.cert, v.stamp = nil, ""
	}
	if stamp == v.stamp && v.unusable == 0 {
		return v, nil
	}
	stored, err := m.shelf.read(ctx, name)
	switch {
	case err != nil && !errors.Is(err, errUnusable):
		return v, err
	case stored != nil && !v.record.revoked(stored):
		v.stamp, v.unusable = stamp, 0
		v.cert = stored
		return v, nil
	case err == nil && v.cert == nil:
		v.stamp, v.unusable = stamp, 0 // nothing, as before
		return v, nil
	}
	v.unusable++
	if v.unusable >= restoreAfter {
		v.unusable = 1 // try again later if this fails
		return v, m.repair(ctx, name, v.cert)
	}
	return v, nil
}

// due reports whether a peer may be renewing the host's certificate by now.
func (m *Manager) due(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hosts[name]
	return h != nil && !m.renewal(h).After(m.options.Now())
}

// repair ends a state in which storage has no good certificate for a host though it
// should: what is served is put back, and what is damaged beyond use is deleted, so
// that it can be ordered. A peer that is just writing keeps the lock.
func (m *Manager) repair(ctx context.Context, name string, served *certificate) error {
	ctx, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	err := m.shelf.locked(ctx, name, func() error {
		stored, err := m.shelf.read(ctx, name)
		if stored != nil || err != nil && !errors.Is(err, errUnusable) {
			return err
		}
		if served != nil && !served.expired(m.options.Now()) {
			m.options.Log.Warn("certificate is missing from storage and put back", "host", name)
			return m.shelf.write(ctx, served)
		}
		if err == nil {
			return nil
		}
		m.options.Log.Warn("damaged certificate is deleted from storage", "host", name)
		for _, issuer := range m.shelf.keys {
			if c, err := m.shelf.readFrom(ctx, issuer, name); c == nil && errors.Is(err, errUnusable) {
				if err := m.shelf.remove(ctx, issuer, name); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // a peer is at work
	}
	return err
}
