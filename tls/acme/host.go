package acme

import (
	"strings"
	"time"
)

// host is what this process knows of one. The manager's mutex guards it.
type host struct {
	name string
	// watched hosts are read from storage; wanted ones are ordered for as well.
	watched, wanted bool
	// http is set when HTTP-01 challenges reach us.
	http bool
	// read is set once storage was looked at, whose content had this stamp then.
	read  bool
	stamp string
	// cert is what is served; nil: nothing.
	cert *certificate
	// unusable counts looks at storage since it had no good certificate.
	unusable int
	record   record
	// hold is before when this process does not try, and holdError why; own counts
	// failures that could not be written down.
	hold      time.Time
	holdError string
	own       int
	// wish is when the authority wants cert renewed; asking is set meanwhile.
	wish   wish
	asking bool
	// busy is closed when the attempt under way ends, which cancel causes; nil if
	// there is none.
	busy   chan struct{}
	cancel func()
}

// wildcard reports whether only DNS-01 can prove a host.
func wildcard(name string) bool { return strings.HasPrefix(name, "*.") }

// way returns how the host is proven; false if it cannot be.
func (m *Manager) way(h *host) (way, bool) {
	switch {
	case wildcard(h.name):
		return wayDNS, m.options.DNS != nil
	case h.http:
		return wayHTTP, true
	}
	return wayTLS, true
}

// renewal returns when the host's certificate is to be renewed; the zero time if it
// has none, or one of an authority that is no longer configured.
func (m *Manager) renewal(h *host) time.Time {
	if h.cert == nil || m.byKey[h.cert.issuer] == nil {
		return time.Time{}
	}
	return renewal(h.cert, m.options.RenewalRatio, h.wish)
}

// next returns when the host is tried, and false if it is not.
func (m *Manager) next(h *host) (time.Time, bool) {
	if _, ok := m.way(h); !ok || !h.wanted || !h.read {
		return time.Time{}, false
	}
	at := m.renewal(h)
	for _, t := range []time.Time{h.record.Next, h.hold} {
		if t.After(at) {
			at = t
		}
	}
	return at, true
}
