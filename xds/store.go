// Package xds brings resources to the proxies: a delta ADS server that pushes
// every change in an order that loses no request, each step only after the
// proxy acknowledged the one before.
//
// What goes in: [model.Change] values, through [Store.Publish]. What comes out:
// gRPC streams to the proxies, and what each proxy acknowledged or rejected
// ([Store.Proxies], [Options].OnProgress). It alone decides what is sent to
// whom, when, and in which order (order.go holds the order as a table), and
// which version of a resource is served after a proxy refused the newest one.
//
// A resource here is a type, a name, bytes and a hash; this package does not
// look into the bytes. It reads package model only for those words. Secrets whose
// name has no slash are certificates of hosts: they answer for every server name
// that their host covers (ondemand.go).
package xds

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/sluicegw/sluice/model"
)

// Generation counts published changes: the first is 1.
type Generation uint64

// Store holds the current resources, once for all streams.
type Store struct {
	ready chan struct{} // closed by the first Publish

	mu      sync.Mutex
	gen     Generation
	entries map[model.ResourceType]map[string]*entry
	views   map[*view]struct{}
	nodes   map[string]*node
	// awaited are the names, in lower case, whose secrets are being made.
	awaited map[string]struct{}
}

// entry is one resource and what proxies made of it.
type entry struct {
	latest *model.Resource // the last one published
	// good is the last version before latest that a proxy took; nil once a
	// proxy took latest, or when there never was one.
	good  *model.Resource
	taken bool // a proxy took latest
	// refused: a proxy refused latest and none took it, so good is served
	// until another version is published.
	refused bool
}

// serving returns the version that streams get, nil if it is withheld: the
// only version there ever was has been refused.
func (e *entry) serving() *model.Resource {
	if e.refused {
		return e.good
	}
	return e.latest
}

// NewStore returns an empty store. Streams wait, unanswered, until the first
// Publish.
func NewStore() *Store {
	return &Store{
		ready:   make(chan struct{}),
		entries: make(map[model.ResourceType]map[string]*entry),
		views:   make(map[*view]struct{}),
		nodes:   make(map[string]*node),
		awaited: make(map[string]struct{}),
	}
}

// Publish applies c as one step and returns its generation. Every connected
// stream is told; none is waited for. Its cost grows with the size of c and
// with the number of streams, never with the number of resources. An empty
// change is a generation of its own, live as soon as those before it are.
func (s *Store) Publish(c model.Change) Generation {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range c.Upserts {
		s.upsert(r)
	}
	for _, n := range c.Removals {
		s.remove(n)
	}
	s.gen++
	if s.gen == 1 {
		close(s.ready)
	}
	s.signal()
	return s.gen
}

func (s *Store) upsert(r *model.Resource) {
	if r.Type == model.TypeSecret {
		delete(s.awaited, r.Name)
	}
	e := s.entry(r.ResourceName)
	if e == nil {
		byName := s.entries[r.Type]
		if byName == nil {
			byName = make(map[string]*entry)
			s.entries[r.Type] = byName
		}
		byName[r.Name] = &entry{latest: r}
		s.mark(r.ResourceName, nil, r)
		return
	}
	if e.latest.Hash == r.Hash {
		return
	}
	before := e.serving()
	if e.taken {
		e.good = e.latest
	}
	e.latest, e.refused = r, false
	e.taken = e.good != nil && e.good.Hash == r.Hash
	if e.taken {
		e.good = nil
	}
	s.forgive(r.ResourceName)
	if before == nil || before.Hash != r.Hash {
		s.mark(r.ResourceName, before, r)
	}
}

func (s *Store) remove(n model.ResourceName) {
	e := s.entry(n)
	if e == nil {
		return
	}
	delete(s.entries[n.Type], n.Name)
	s.forgive(n)
	s.mark(n, e.serving(), nil)
}

// mark notes on every view that n is no longer what the view shows.
func (s *Store) mark(n model.ResourceName, before, after *model.Resource) {
	for v := range s.views {
		v.mark(n, before, after)
	}
}

// forgive drops what proxies said about earlier versions of n.
func (s *Store) forgive(n model.ResourceName) {
	for _, node := range s.nodes {
		delete(node.rejections, n)
	}
}

func (s *Store) entry(n model.ResourceName) *entry { return s.entries[n.Type][n.Name] }

// Generation returns the generation of the last Publish, 0 before the first.
func (s *Store) Generation() Generation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gen
}

// Get returns the version of a resource that proxies are served: the newest
// one or, after a rejection, the last good one. It is nil if there is none.
func (s *Store) Get(name model.ResourceName) *model.Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entry(name); e != nil && !e.latest.OnRequest {
		return e.serving()
	}
	return nil
}

// Resources returns what proxies are served of type t, ordered by name.
func (s *Store) Resources(t model.ResourceType) []*model.Resource {
	s.mu.Lock()
	out := make([]*model.Resource, 0, len(s.entries[t]))
	for _, e := range s.entries[t] {
		if r := e.serving(); r != nil && !r.OnRequest {
			out = append(out, r)
		}
	}
	s.mu.Unlock()
	sortByName(out)
	return out
}

// Proxies returns every proxy that connected since the store was made, ordered
// by node id.
func (s *Store) Proxies() []Proxy {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Proxy, 0, len(s.nodes))
	for _, id := range slices.Sorted(maps.Keys(s.nodes)) {
		out = append(out, s.nodes[id].proxy())
	}
	return out
}

// take notes that the proxy of ses took the resources. It reports whether that
// settled a rejection of the proxy.
func (s *Store) take(ses *session, taken []*model.Resource) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	settled := false
	for _, r := range taken {
		r = published(r)
		if j, ok := ses.node.rejections[r.ResourceName]; ok && j.Hash == r.Hash {
			delete(ses.node.rejections, r.ResourceName)
			settled = true
		}
		if e := s.entry(r.ResourceName); e != nil && !e.taken {
			s.took(e, r)
		}
	}
	return settled
}

func (s *Store) took(e *entry, r *model.Resource) {
	before := e.serving()
	switch {
	case e.latest.Hash == r.Hash:
		e.taken, e.refused, e.good = true, false, nil
	case !e.refused || e.good == nil:
		// The answer was on its way when latest was published.
		e.good = r
	}
	if now := e.serving(); now != before {
		s.mark(r.ResourceName, before, now)
		s.signal()
	}
}

// refuse notes that the proxy of ses rejected r, unless a newer version is
// already there. With quarantine, the version before r is served from now on
// to all, as long as no proxy took r. It reports whether j is news.
func (s *Store) refuse(ses *session, j Rejection, quarantine bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(j.Resource)
	if e == nil || e.latest.Hash != j.Hash {
		return false
	}
	if j.Serving == 0 && e.good != nil {
		j.Serving = e.good.Hash
	}
	j.Owners = e.latest.Owners
	known, repeated := ses.node.rejections[j.Resource]
	repeated = repeated && known.Hash == j.Hash
	if repeated {
		j.At = known.At
	}
	ses.node.rejections[j.Resource] = j
	if quarantine && !e.taken && !e.refused {
		e.refused = true
		s.mark(j.Resource, e.latest, e.good)
		s.signal()
	}
	return !repeated || known.Detail != j.Detail || known.Serving != j.Serving
}

func (s *Store) signal() {
	for v := range s.views {
		v.signal()
	}
}

func sortByName(rs []*model.Resource) {
	slices.SortFunc(rs, func(a, b *model.Resource) int { return strings.Compare(a.Name, b.Name) })
}
