// Package status knows what is true right now: which object is live on how many
// proxies since when, and what problems it has.
//
// What goes in: the objects of each published generation, the reports of the
// compiler and of the sources, and the progress of the proxies. What comes out:
// a [Snapshot] for people and scripts, and an answer to "is it live yet". It
// alone decides when a change counts as live: when every proxy has acknowledged
// its generation and none refuses a resource made of it.
package status

import (
	"slices"
	"sync"
	"time"

	"github.com/sluicegw/sluice/model"
)

// Generation counts published changes, from 1.
type Generation uint64

// Change is what one published generation did to the objects.
type Change struct {
	Generation Generation
	// At is when the source noticed the first of the changes.
	At       time.Time
	Objects  []Declared
	Removals []model.Ref
}

// Declared is one object as declared now.
type Declared struct {
	Ref model.Ref
	// Hash is xxhash64 of the object's JSON: equal hashes mean equal content.
	Hash uint64
}

// Proxy is how far one proxy is.
type Proxy struct {
	Node      string
	Connected bool
	Since     time.Time
	Acked     Generation
	Rejected  []Rejection
	// ready: it has had a whole configuration ever since it connected. A hot
	// restart keeps that: the process before serves until the next one can.
	ready bool
}

// has reports whether the proxy has a generation. What a proxy that is gone had
// does not count: nothing is known of it, and nothing is served by it.
func (p Proxy) has(g Generation) bool { return p.Connected && p.Acked >= g }

// Rejection is a resource that a proxy refuses.
type Rejection struct {
	Resource model.ResourceName
	Owners   []model.Ref
	// Detail is Envoy's own words.
	Detail string
	// Bind is set when only the address could not be taken: it is tried again.
	Bind bool
	// LastGood is set when the version before goes on working.
	LastGood bool
}

// Live is emitted when a generation came true on every proxy.
type Live struct {
	Generation Generation
	Took       time.Duration
	Objects    int
	Proxies    int
}

// object is what the board keeps of one object.
type object struct {
	hash       uint64
	generation Generation
	at         time.Time
	live       time.Time // zero until live on every proxy
	took       time.Duration
}

// pending is a generation that is not live everywhere yet.
type pending struct {
	generation Generation
	at         time.Time
	objects    int
	refs       []model.Ref
}

// Board holds the state. Its methods may be called from any goroutine.
type Board struct {
	mu       sync.Mutex
	now      func() time.Time
	onLive   func(Live)
	objects  map[model.Ref]*object
	reports  map[string][]model.Problem
	by       map[model.Ref]map[string]bool // reporters that have a word on an object
	proxies  map[string]Proxy
	latest   Generation
	waiting  []pending
	standing *standing
	changed  chan struct{} // see [Board.Changed]; nil when nobody asked
}

// NewBoard returns an empty board. Proxies named in expect count as part of the
// fleet before they connect. onLive may be nil; it is called without locks.
func NewBoard(now func() time.Time, onLive func(Live), expect ...string) *Board {
	b := &Board{
		now: now, onLive: onLive,
		objects: map[model.Ref]*object{}, reports: map[string][]model.Problem{},
		by: map[model.Ref]map[string]bool{}, proxies: map[string]Proxy{},
		standing: newStanding(),
	}
	for _, node := range expect {
		b.proxies[node] = Proxy{Node: node}
	}
	return b
}

// Publish notes a published generation. The generations come in order.
func (b *Board) Publish(c Change) {
	b.mu.Lock()
	b.latest = c.Generation
	w := pending{generation: c.Generation, at: c.At, objects: len(c.Objects) + len(c.Removals)}
	for _, d := range c.Objects {
		b.objects[d.Ref] = &object{hash: d.Hash, generation: c.Generation, at: c.At}
		w.refs = append(w.refs, d.Ref)
	}
	for _, r := range c.Removals {
		delete(b.objects, r)
	}
	b.waiting = append(b.waiting, w)
	live := b.advance()
	b.tell()
	b.mu.Unlock()
	b.announce(live)
}

// Report takes the word of reporters in place of their words before.
func (b *Board) Report(reports ...model.Report) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.tell()
	for _, r := range reports {
		if slices.Equal(r.Problems, b.reports[r.By]) {
			continue
		}
		for _, p := range r.Problems {
			b.standing.add(p) // before those of the report before go, so that what stays is no news
		}
		for _, p := range b.reports[r.By] {
			b.standing.take(p)
			delete(b.by[p.Object], r.By)
			if len(b.by[p.Object]) == 0 {
				delete(b.by, p.Object)
			}
		}
		if len(r.Problems) == 0 {
			delete(b.reports, r.By)
			continue
		}
		b.reports[r.By] = r.Problems
		for _, p := range r.Problems {
			if b.by[p.Object] == nil {
				b.by[p.Object] = map[string]bool{}
			}
			b.by[p.Object][r.By] = true
		}
	}
}

// Progress takes the state of one proxy in place of the one before.
func (b *Board) Progress(p Proxy) {
	b.mu.Lock()
	p.ready = p.Connected && (p.Acked > 0 || b.proxies[p.Node].ready)
	b.proxies[p.Node] = p
	live := b.advance()
	b.tell()
	b.mu.Unlock()
	b.announce(live)
	b.reportRejections()
}

// reportRejections turns what the proxies refuse into problems of the owners.
func (b *Board) reportRejections() {
	b.mu.Lock()
	var problems []model.Problem
	for _, p := range b.proxies {
		for _, r := range p.Rejected {
			problems = append(problems, r.problems(p.Node)...)
		}
	}
	b.mu.Unlock()
	slices.SortFunc(problems, model.Problem.Compare)
	b.Report(model.Report{By: "proxies", Problems: problems})
}

func (r Rejection) problems(node string) []model.Problem {
	reason, what := model.ReasonRejectedByEnvoy, "it is not served"
	switch {
	case r.Bind:
		reason, what = model.ReasonBindFailed, "it is tried again until the address is free"
	case r.LastGood:
		what = "the version before is still served"
	}
	out := make([]model.Problem, 0, len(r.Owners))
	for _, o := range r.Owners {
		out = append(out, model.Problem{
			Object: o, Reason: reason, Severity: model.SeverityError,
			Message: "proxy " + node + " refuses the " + r.Resource.Type.Short() + " " + r.Resource.Name + "; " + what + ": " + r.Detail,
		})
	}
	return out
}

// advance marks what became true. Call with the lock held.
func (b *Board) advance() []Live {
	var live []Live
	low := b.low()
	for len(b.waiting) > 0 && b.waiting[0].generation <= low {
		w := b.waiting[0]
		b.waiting = b.waiting[1:]
		now := b.now()
		for _, ref := range w.refs {
			if o := b.objects[ref]; o != nil && o.generation == w.generation {
				o.live, o.took = now, now.Sub(w.at)
			}
		}
		live = append(live, Live{Generation: w.generation, Took: now.Sub(w.at), Objects: w.objects, Proxies: len(b.proxies)})
	}
	return live
}

// low is the generation that every proxy has reached; 0 without proxies, or
// while one of them is gone.
func (b *Board) low() Generation {
	if len(b.proxies) == 0 {
		return 0
	}
	low := b.latest
	for _, p := range b.proxies {
		if !p.Connected {
			return 0
		}
		low = min(low, p.Acked)
	}
	return low
}

func (b *Board) announce(live []Live) {
	if b.onLive == nil {
		return
	}
	for _, l := range live {
		b.onLive(l)
	}
}

// Ready reports whether every proxy has a whole configuration.
func (b *Board) Ready() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.proxies {
		if !p.ready {
			return false
		}
	}
	return b.latest > 0 && len(b.proxies) > 0
}

// Counts are the figures of the state, cheap to get.
type Counts struct {
	Generation, Live Generation
	Objects          int
	Proxies          int
	WithProblems     int // objects, files and proxies that have a problem
}

// Counts returns the figures now.
func (b *Board) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Counts{Generation: b.latest, Live: b.low(), Objects: len(b.objects), Proxies: len(b.proxies), WithProblems: len(b.by)}
}
