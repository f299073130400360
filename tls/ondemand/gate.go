// Package ondemand decides for which names certificates are ordered because a
// client asked for them.
//
// What goes in are the names that clients ask for below a wildcard, and how the
// orders for them go. What comes out are the names that are wanted, and those for
// which nobody has to wait any longer. Anybody on the network can ask for anything:
// so names have to be possible, allowed by a rule or by whoever is asked, and there
// are bounds on how many are known, waited for and failing.
package ondemand

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sluicegw/sluice/model"
)

// Options of a Gate.
type Options struct {
	// AskURL is asked with the parameter domain=NAME before a name is wanted: an
	// answer of 200 to 299 allows it. Empty asks nobody.
	AskURL string
	// Client asks; nil is one that waits for five seconds and follows no redirect.
	Client *http.Client
	// Patience is how long clients wait for a certificate; twelve seconds if zero,
	// which is less than the proxy gives a handshake.
	Patience time.Duration
	// MaxNames, MaxWaiting and MaxFailing bound the names that are known, that
	// clients wait for and whose last order failed; 10,000, 100 and 256 if zero.
	MaxNames, MaxWaiting, MaxFailing int
	// Forget is how long a failing name is tried for after it was last asked for; an
	// hour if zero.
	Forget time.Duration
	// Log gets what happens; nil discards it.
	Log *slog.Logger
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// OnWant is told names that are wanted from now on (true) or no longer. Like
	// OnDecline it is called one call at a time, returns quickly and calls nothing of
	// the Gate.
	OnWant func(names map[string]bool)
	// OnDecline is told a name for which Ask returned true, and for which there is
	// no certificate now.
	OnDecline func(name string)
}

func (o Options) defaults() Options {
	if o.Client == nil {
		o.Client = &http.Client{
			Timeout:       5 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	o.Patience = cmp.Or(o.Patience, 12*time.Second)
	o.Forget = cmp.Or(o.Forget, time.Hour)
	o.MaxNames = cmp.Or(o.MaxNames, 10_000)
	o.MaxWaiting = cmp.Or(o.MaxWaiting, 100)
	o.MaxFailing = cmp.Or(o.MaxFailing, 256)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// state is how a name stands.
type state int

const (
	asking   state = iota // somebody is asked whether it is allowed
	ordering              // it is wanted, and has no certificate yet
	issued                // it has one
	failing               // the last order failed
)

// entry is one name that is known.
type entry struct {
	state state
	asked time.Time // last
	// wait ends the wait of clients; nil: none waits.
	wait *time.Timer
}

// Gate knows the names that clients asked for. Its methods may be called at the same
// time.
type Gate struct {
	o Options

	mu      sync.Mutex
	issuers map[string]model.Issuer // by wildcard
	names   map[string]*entry
	waiting int
	failing int
	// refused has until when a name is declined without asking again.
	refused map[string]time.Time
	full    time.Time // when it was last said that there are too many names
}

// New returns a Gate that lets nothing through until [Gate.Rule].
func New(o Options) *Gate {
	return &Gate{o: o.defaults(), issuers: map[string]model.Issuer{}, names: map[string]*entry{}, refused: map[string]time.Time{}}
}

// Rule says below which wildcards names may be wanted. Names that are known and no
// longer allowed are given up.
func (g *Gate) Rule(issuers []model.Issuer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	rules := make(map[string]model.Issuer, len(issuers))
	for _, i := range issuers {
		rules[i.Wildcard] = i
	}
	if maps.EqualFunc(rules, g.issuers, model.Issuer.Equal) {
		return // nothing is asked for every name that becomes known
	}
	g.issuers = rules
	g.give(func(name string, _ *entry) bool { return !g.allowed(name) })
}

// give drops the names of which lost is true. The mutex is held.
func (g *Gate) give(lost func(name string, e *entry) bool) {
	gone := map[string]bool{}
	for name, e := range g.names {
		if lost(name, e) {
			g.drop(name)
			gone[name] = false
		}
	}
	if len(gone) > 0 {
		g.o.OnWant(gone)
	}
}

// allowed reports whether an issuer covers and allows a name. The mutex is held.
func (g *Gate) allowed(name string) bool {
	for wildcard := range model.Covering(name) {
		if i, ok := g.issuers[wildcard]; ok {
			return i.Allows(name)
		}
	}
	return false
}

// Ask is told that a client asks for name, in lower case, which has no certificate.
// It reports whether it is worth while to wait: until one is issued, or OnDecline is
// told. It never blocks.
func (g *Gate) Ask(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.o.Now()
	if e := g.names[name]; e != nil {
		e.asked = now
		return e.state != failing && g.await(name, e)
	}
	if !possible(name) || !g.allowed(name) || g.refused[name].After(now) {
		return false
	}
	if len(g.names) >= g.o.MaxNames {
		if now.Sub(g.full) > g.o.Forget {
			g.full = now
			g.o.Log.Warn("too many names have certificates on demand; no other gets one", "limit", g.o.MaxNames)
		}
		return false
	}
	e := &entry{asked: now}
	if !g.await(name, e) {
		return false
	}
	g.names[name] = e
	go g.admit(name)
	return true
}

// await has clients wait for e, and reports whether one more may. The mutex is held.
func (g *Gate) await(name string, e *entry) bool {
	if e.wait != nil {
		return true
	}
	if g.waiting >= g.o.MaxWaiting {
		return false
	}
	g.waiting++
	var timer *time.Timer
	timer = time.AfterFunc(g.o.Patience, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if e.wait == timer {
			g.decline(name, e)
		}
	})
	e.wait = timer
	return true
}

// release notes that nobody waits for e any more, and reports whether somebody did.
// The mutex is held.
func (g *Gate) release(e *entry) bool {
	if e.wait == nil {
		return false
	}
	e.wait.Stop()
	e.wait = nil
	g.waiting--
	return true
}

// decline tells those who wait for a name that there is no certificate. The mutex is
// held.
func (g *Gate) decline(name string, e *entry) {
	if g.release(e) {
		g.o.OnDecline(name)
	}
}

// drop forgets a name. The mutex is held.
func (g *Gate) drop(name string) {
	e := g.names[name]
	g.decline(name, e)
	if e.state == failing {
		g.failing--
	}
	delete(g.names, name)
}

// admit asks whether a name is allowed, and has it ordered if so.
func (g *Gate) admit(name string) {
	allowed, pause := g.ask(name)
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.names[name]
	if e == nil || e.state != asking {
		return
	}
	if !allowed {
		g.drop(name)
		g.refuse(name, pause)
		return
	}
	e.state = ordering
	g.o.Log.Info("certificate is wanted on demand", "host", name)
	g.o.OnWant(map[string]bool{name: true})
}

// refuse has a name declined for a while. The mutex is held.
func (g *Gate) refuse(name string, pause time.Duration) {
	now := g.o.Now()
	if len(g.refused) >= g.o.MaxNames {
		maps.DeleteFunc(g.refused, func(_ string, until time.Time) bool { return !until.After(now) })
	}
	if len(g.refused) < g.o.MaxNames {
		g.refused[name] = now.Add(pause)
	}
}

// Issued is told that a name has a certificate. Names that are not known may be told
// as well.
func (g *Gate) Issued(name string) { g.turn(name, issued) }

// Lost is told that a name has no certificate any more.
func (g *Gate) Lost(name string) { g.turn(name, ordering) }

func (g *Gate) turn(name string, to state) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.names[name]
	if e == nil || e.state == asking {
		return
	}
	if e.state == failing {
		g.failing--
	}
	e.state = to
	if to == issued {
		g.release(e)
	}
}

// Failed is told that an order for a name failed. It is tried again as any other,
// but clients need not wait for that.
func (g *Gate) Failed(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.names[name]
	if e == nil || e.state != ordering {
		return
	}
	e.state = failing
	g.failing++
	g.decline(name, e)
	if g.failing > g.o.MaxFailing {
		oldest := g.oldest()
		g.give(func(name string, _ *entry) bool { return name == oldest })
	}
}

// oldest returns the failing name that was not asked for for the longest time. The
// mutex is held.
func (g *Gate) oldest() (out string) {
	for name, e := range g.names {
		if e.state == failing && (out == "" || e.asked.Before(g.names[out].asked)) {
			out = name
		}
	}
	return out
}

// Run gives up failing names that nobody asks for any more, until ctx ends.
func (g *Gate) Run(ctx context.Context) error {
	tick := time.NewTicker(min(time.Minute, g.o.Forget))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			g.giveUp()
		}
	}
}

func (g *Gate) giveUp() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.give(func(_ string, e *entry) bool { return e.state == failing && g.o.Now().Sub(e.asked) > g.o.Forget })
}

// possible reports whether an authority could sign name: a host name of two labels or
// more, the last not all digits.
//
// Source: CA/Browser Forum Baseline Requirements 3.2.2.4.
func possible(name string) bool {
	last := strings.LastIndexByte(name, '.')
	return model.IsHostName(name) && last >= 0 && strings.Trim(name[last+1:], "0123456789") != ""
}
