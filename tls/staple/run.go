package staple

import (
	"context"
	"sync"
	"time"

	"github.com/sluicegw/sluice/tls"
)

// How long until a responder is asked again.
const (
	soonest    = time.Second      // whatever it says
	firstRetry = 10 * time.Second // after a failure, then twice as long each time
	lastRetry  = time.Hour
	// idle bounds every wait: the clock may jump, timers do not.
	idle = time.Minute
	// jitter is the part of a pause by which it may be longer or shorter.
	jitter = 0.1
	// margin bounds the time before its end at which a staple is given up, which is
	// a hundredth of its validity at most.
	margin = time.Minute
)

// entry is the state of one certificate.
type entry struct {
	cert     issued
	staple   []byte    // that is told, nil if none
	until    time.Time // when staple is given up
	next     time.Time // when the responder is asked next
	failures int       // since the last answer
	asking   bool
	revoked  bool // as the last answer says
}

// answer is what asking a responder about an entry gave.
type answer struct {
	id       string
	entry    *entry // to know one that was replaced since
	response response
	err      error
}

// run is the state of one Run; one goroutine owns it but asking and answers.
type run struct {
	*Keeper
	entries map[string]*entry
	pending map[string][]byte // what has to be sent
	busy    int               // responders that are asked now
	asking  sync.WaitGroup
	answers chan answer
	timer   *time.Timer
}

// adopt takes over the wanted set.
func (r *run) adopt() {
	r.mu.Lock()
	wanted := r.wanted
	r.mu.Unlock()
	kept := map[string]bool{}
	for _, c := range wanted {
		kept[c.ID] = true
		if r.entries[c.ID] != nil {
			continue
		}
		cert, err := parseIssued(c.ChainPEM)
		if err != nil {
			r.log.Warn("certificate cannot be stapled", "certificate", c.ID, "error", err)
			continue
		}
		if cert.issuer == nil || tls.ResponderOf(cert.leaf) == "" {
			continue
		}
		e := &entry{cert: cert, next: r.now()}
		r.entries[c.ID] = e
		if der := r.cache.load(cert); der != nil {
			if resp, err := cert.verify(der, r.now()); err == nil && resp.status == good {
				r.staple(c.ID, e, resp)
			}
		}
	}
	for id := range r.entries {
		if !kept[id] {
			delete(r.entries, id)
			delete(r.pending, id)
		}
	}
	r.counts.show(r.entries)
}

// ask asks as many responders as may be asked now, the longest due first.
func (r *run) ask(ctx context.Context) {
	for r.busy < atOnce {
		id := r.due()
		if id == "" {
			return
		}
		e := r.entries[id]
		e.asking = true
		r.busy++
		r.asking.Go(func() {
			a := answer{id: id, entry: e}
			a.response, a.err = r.fetch(ctx, e.cert)
			select {
			case r.answers <- a:
			case <-ctx.Done():
			}
		})
	}
}

// due returns the ID of the certificate that should have been asked about first,
// "" if none is due.
func (r *run) due() (first string) {
	now := r.now()
	for id, e := range r.entries {
		if e.asking || e.next.After(now) {
			continue
		}
		if f := r.entries[first]; f == nil || e.next.Before(f.next) || e.next.Equal(f.next) && id < first {
			first = id
		}
	}
	return first
}

// wait returns how long until something is due or ends.
func (r *run) wait() time.Duration {
	at := r.now().Add(idle)
	for _, e := range r.entries {
		if !e.asking && r.busy < atOnce && e.next.Before(at) {
			at = e.next
		}
		if e.staple != nil && e.until.Before(at) {
			at = e.until
		}
	}
	return max(at.Sub(r.now()), 0)
}

// take notes what a responder said.
func (r *run) take(a answer) {
	r.busy--
	a.entry.asking = false
	e := r.entries[a.id]
	if e != a.entry {
		return // not wanted any more
	}
	r.counts.count(a)
	switch {
	case a.err != nil:
		pause := lastRetry
		if e.failures < 10 {
			pause = min(firstRetry<<e.failures, lastRetry)
		}
		pause = r.vary(pause)
		e.failures++
		e.next = r.now().Add(pause)
		r.log.Warn("staple cannot be had, the last one stays as long as it is valid", "certificate", a.id, "error", a.err, "retry", pause, "valid", e.staple != nil)
	case a.response.status == revoked:
		e.failures = 0
		e.next = r.refresh(a.response)
		if !e.revoked {
			r.log.Error("certificate is revoked, it is served without a staple; replace it", "certificate", a.id, "revoked", a.response.revokedAt)
		}
		e.revoked = true
		r.cache.remove(e.cert)
		r.tell(a.id, e, nil)
	default:
		e.failures, e.revoked = 0, false
		if err := r.cache.save(e.cert, a.response.der); err != nil {
			r.log.Warn("staple is not kept on disk", "certificate", a.id, "error", err)
		}
		r.staple(a.id, e, a.response)
	}
	r.counts.show(r.entries)
}

// staple tells a good response and plans the next.
func (r *run) staple(id string, e *entry, resp response) {
	e.next = r.refresh(resp)
	e.until = resp.nextUpdate.Add(-min(margin, resp.nextUpdate.Sub(resp.thisUpdate)/100))
	if r.now().Before(e.until) {
		r.tell(id, e, resp.der)
	}
}

// tell notes a staple to be sent if it is another than before.
func (r *run) tell(id string, e *entry, der []byte) {
	if string(e.staple) != string(der) {
		r.pending[id] = der
	}
	e.staple = der
}

// expire gives up the staples whose time is over.
func (r *run) expire() {
	for id, e := range r.entries {
		if e.staple != nil && !r.now().Before(e.until) {
			r.log.Warn("staple has expired and the responder gave no other", "certificate", id)
			r.cache.remove(e.cert)
			r.tell(id, e, nil)
		}
	}
	r.counts.show(r.entries)
}

// refresh returns when to ask after a response: at half of its validity, or of
// what is left of it if that is past.
func (r *run) refresh(resp response) time.Time {
	now := r.now()
	half := resp.thisUpdate.Add(resp.nextUpdate.Sub(resp.thisUpdate) / 2)
	pause := half.Sub(now)
	if pause < soonest {
		pause = resp.nextUpdate.Sub(now) / 2
	}
	return now.Add(max(r.vary(pause), soonest))
}

// vary makes a pause a little longer or shorter, so that not all responders are
// asked at once.
func (r *run) vary(d time.Duration) time.Duration {
	return d + time.Duration((2*r.rand()-1)*jitter*float64(d))
}
