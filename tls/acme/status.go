package acme

import (
	"slices"
	"strings"
	"time"
)

// State is how a host stands.
type State string

// The states.
const (
	StateValid   State = "valid"   // its certificate is good, and the last order did not fail
	StatePending State = "pending" // it waits for its first certificate
	StateFailing State = "failing" // the last order failed; it may have a certificate yet
	StateRefused State = "refused" // it is not ordered: Error says what to do
)

// HostStatus is how a host stands, on whatever process the orders run.
type HostStatus struct {
	Host  string
	State State
	// Issuer is the authority of the certificate; "" if there is none, as for the
	// times.
	Issuer              string
	NotBefore, NotAfter time.Time
	// Renewal is when the certificate is renewed.
	Renewal time.Time
	// Error is what the authorities said last, a line for each, and what this
	// process waits for besides.
	Error string
	// NextTry is when the next order goes out, if one failed or has to wait.
	NextTry time.Time
}

// Status returns all hosts that Load or Want named, sorted.
func (m *Manager) Status() []HostStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]HostStatus, 0, len(m.hosts))
	for _, h := range m.hosts {
		out = append(out, m.status(h))
	}
	slices.SortFunc(out, func(a, b HostStatus) int { return strings.Compare(a.Host, b.Host) })
	return out
}

// status returns one host. The mutex is held.
func (m *Manager) status(h *host) HostStatus {
	s := HostStatus{Host: h.name, State: StatePending, Error: h.record.Error}
	if h.cert != nil {
		s.State = StateValid
		s.NotBefore, s.NotAfter, s.Renewal = h.cert.leaf.NotBefore, h.cert.leaf.NotAfter, m.renewal(h)
		s.Issuer = h.cert.issuer
		if i := m.byKey[h.cert.issuer]; i != nil {
			s.Issuer = i.name
		}
	}
	if _, ok := m.way(h); !ok {
		s.State, s.Error = StateRefused, errNeedsDNS.Error()
		return s
	}
	if h.holdError != "" {
		s.Error = strings.TrimPrefix(s.Error+"\n"+h.holdError, "\n")
	}
	if s.Error != "" {
		s.State = StateFailing
		s.NextTry, _ = m.next(h)
	}
	return s
}
