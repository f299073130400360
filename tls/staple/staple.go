// Package staple keeps OCSP staples fresh.
//
// What goes in: the certificates that are in use and name a responder. What comes
// out: for each a response that its issuer stands for and that is valid now, or
// word that there is none any more. It alone decides when a responder is asked:
// at half of the time for which its last answer is good, and with growing pauses
// while it gives none. Responses survive a restart on disk.
//
// Responders are named by whoever brings a certificate, so they are asked with
// care: by GET only, which changes nothing anywhere, at most a few at once, each
// with a limit on time and size, and none at an address that is special to this
// machine's network.
package staple

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// atOnce is how many responders are asked at the same time.
const atOnce = 4

// Certificate is one that may need a staple.
type Certificate struct {
	// ID names it in what Run sends.
	ID string
	// ChainPEM holds it and the one that signed it, in PEM.
	ChainPEM []byte
}

// Options of [New].
type Options struct {
	// Client asks responders; nil is one that refuses link-local, multicast and
	// unspecified addresses. Redirects are bounded in any case.
	Client *http.Client
	// Dir keeps responses over a restart; "" keeps none. It is made if it does not
	// exist, and may be shared.
	Dir string
	// Now is the clock, time.Now if nil; timers are real. Rand gives numbers from 0
	// to below 1 for the jitter, those of math/rand if nil.
	Now  func() time.Time
	Rand func() float64
	// Log and Registerer may be nil.
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Keeper keeps the staples of a set of certificates.
type Keeper struct {
	client *client
	cache  cache
	now    func() time.Time
	rand   func() float64
	log    *slog.Logger
	counts counts

	mu     sync.Mutex
	wanted []Certificate
	change chan struct{}
}

// New returns a keeper that keeps nothing yet.
func New(o Options) *Keeper {
	k := &Keeper{
		client: newClient(o.Client), cache: cache{dir: o.Dir}, now: o.Now, rand: o.Rand, log: o.Log,
		counts: newCounts(o.Registerer), change: make(chan struct{}, 1),
	}
	if k.now == nil {
		k.now = time.Now
	}
	if k.rand == nil {
		k.rand = rand.Float64
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	return k
}

// Want replaces the set of certificates; one without a responder, or without its
// issuer, is passed over. It returns at once and may be called from any
// goroutine, before and during Run.
func (k *Keeper) Want(certs []Certificate) {
	k.mu.Lock()
	k.wanted = slices.Clone(certs)
	k.mu.Unlock()
	select {
	case k.change <- struct{}{}:
	default: // a call that nobody has looked at yet
	}
}

// Run sends staples, in DER, by the ID of their certificate as they come and
// change; nil says that there is none any more. It never mentions a certificate
// that is no longer wanted, and forgets what it told of it. Run ends with ctx,
// without an error; it may be called once.
func (k *Keeper) Run(ctx context.Context, out chan<- map[string][]byte) error {
	ctx, cancel := context.WithCancel(ctx)
	r := &run{
		Keeper: k, entries: map[string]*entry{}, pending: map[string][]byte{},
		answers: make(chan answer), timer: time.NewTimer(0),
	}
	defer r.timer.Stop()
	defer r.asking.Wait()
	defer cancel()
	if err := k.cache.prune(k.now()); err != nil {
		k.log.Warn("staples are not kept on disk", "error", err)
	}
	for {
		r.ask(ctx)
		r.timer.Reset(r.wait())
		var send chan<- map[string][]byte
		if len(r.pending) > 0 {
			send = out
		}
		select {
		case <-ctx.Done():
			return nil
		case send <- r.pending:
			r.pending = map[string][]byte{}
		case <-k.change:
			r.adopt()
		case a := <-r.answers:
			r.take(a)
		case <-r.timer.C:
			r.expire()
		}
	}
}
