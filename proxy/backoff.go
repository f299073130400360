package proxy

import "time"

const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 10 * time.Second
	// backoffLive is the most after an Envoy that was live: its clients wait, and
	// what it serves is known to come up.
	backoffLive = time.Second
	// backoffForget is how long an Envoy must have been live for its end to
	// count as a first one.
	backoffForget = 30 * time.Second
)

// backoff counts how long to wait before the next start. The zero value is
// ready.
type backoff struct{ next time.Duration }

// after returns the wait after an Envoy that was live for so long, 0 if it
// never was: 100 ms, doubling up to 10 s, or up to 1 s if it was live, and from
// the beginning after 30 s of health.
func (b *backoff) after(live time.Duration) time.Duration {
	if live >= backoffForget || b.next == 0 {
		b.next = backoffFirst
	}
	if live > 0 {
		b.next = min(b.next, backoffLive)
	}
	d := b.next
	b.next = min(2*d, backoffMost)
	return d
}
