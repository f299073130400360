package xds

import (
	"slices"

	"github.com/sluicegw/sluice/model"
)

// view is the store as one stream sees it: as of the start of the stream's
// last round. The store only has current resources, so the view remembers the
// old version of everything that changed since. Whatever a stream answers
// comes from its view: a newer route may name a cluster that the proxy does
// not have yet.
//
// All fields but wake are guarded by the store's mutex.
type view struct {
	store *Store
	// gen is the generation that the view shows.
	gen Generation
	// old holds what changed after gen, as the view shows it; nil is absent.
	old map[model.ResourceName]*model.Resource
	// quick has the endpoints and secrets that changed since they were last
	// looked at; held is what changed clusters and listeners need, which has to
	// wait for them.
	quick map[model.ResourceName]struct{}
	held  map[model.ResourceName]struct{}
	// asked is what the stream asks for by server name; see ondemand.go.
	asked asked
	// wake has a token when something changed.
	wake chan struct{}
}

// seen is what a view shows of one name.
type seen struct {
	res *model.Resource // nil: not there
	// withheld: it is published, but refused and without a version before it.
	withheld bool
	// later: it is not there yet for this stream, and comes with a later step
	// of the round, or once it is made.
	later bool
}

// delta is the way from one state of a view to the next.
type delta struct {
	gen      Generation
	old      map[model.ResourceName]*model.Resource
	held     map[model.ResourceName]struct{}
	upserts  map[model.ResourceType][]string
	removals map[model.ResourceType][]string
}

// attach returns a view of the store as it is now.
func (s *Store) attach() *view {
	v := &view{store: s, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	v.gen = s.gen
	s.views[v] = struct{}{}
	return v
}

func (s *Store) detach(v *view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.views, v)
}

func (v *view) signal() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

func (v *view) mark(n model.ResourceName, before, after *model.Resource) {
	v.dirty(n, before)
	switch n.Type {
	case model.TypeSecret:
		v.asked.touch(n.Name, before == nil)
	case model.TypeCluster, model.TypeListener:
		v.hold(before)
		v.hold(after)
	}
}

// dirty notes that n is no longer what the view shows.
func (v *view) dirty(n model.ResourceName, before *model.Resource) {
	if v.old == nil {
		v.old = make(map[model.ResourceName]*model.Resource)
	}
	if _, ok := v.old[n]; !ok {
		v.old[n] = before
	}
	switch n.Type {
	case model.TypeEndpoint, model.TypeSecret:
		if v.quick == nil {
			v.quick = make(map[model.ResourceName]struct{})
		}
		v.quick[n] = struct{}{}
	}
}

func (v *view) hold(r *model.Resource) {
	if r == nil {
		return
	}
	for _, n := range r.Needs {
		if v.held == nil {
			v.held = make(map[model.ResourceName]struct{})
		}
		v.held[n] = struct{}{}
	}
}

// advance moves the view to the store's generation and returns what changed on
// the way; nil if the view is up to date.
func (v *view) advance() *delta {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	v.follow()
	if v.gen == v.store.gen && len(v.old) == 0 {
		return nil
	}
	d := &delta{
		gen: v.store.gen, old: v.old, held: v.held,
		upserts:  make(map[model.ResourceType][]string),
		removals: make(map[model.ResourceType][]string),
	}
	v.gen, v.old, v.held, v.quick = v.store.gen, nil, nil, nil
	for n := range d.old {
		into := d.upserts
		if v.store.answering(n) == nil {
			into = d.removals
		}
		into[n.Type] = append(into[n.Type], n.Name)
	}
	for _, byType := range []map[model.ResourceType][]string{d.upserts, d.removals} {
		for _, names := range byType {
			slices.Sort(names)
		}
	}
	return d
}

// look returns what the view shows of each name.
func (v *view) look(t model.ResourceType, names []string) []seen {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	out := make([]seen, len(names))
	for i, name := range names {
		out[i] = v.lookOne(model.ResourceName{Type: t, Name: name})
	}
	return out
}

func (v *view) lookOne(n model.ResourceName) seen {
	if old, ok := v.old[n]; ok && !onDemand(n) {
		return seen{res: old}
	}
	e := v.store.answering(n)
	if e == nil {
		return seen{later: v.store.awaits(n)}
	}
	r := under(e.serving(), n.Name)
	return seen{res: r, withheld: r == nil}
}

// names returns every name of type t that the view shows or withholds, sorted.
func (v *view) names(t model.ResourceType) []string {
	v.store.mu.Lock()
	out := make([]string, 0, len(v.store.entries[t]))
	for name := range v.store.entries[t] {
		out = append(out, name)
	}
	for n := range v.old {
		if n.Type == t && v.store.entry(n) == nil {
			out = append(out, n.Name)
		}
	}
	v.store.mu.Unlock()
	slices.Sort(out)
	return out
}

// takeQuick returns the endpoints and secrets that changed, that nothing
// changed waits for, and that ok agrees to; the view shows them from now on.
// The others wait for the next round.
func (v *view) takeQuick(ok func(model.ResourceName) bool) map[model.ResourceType][]*model.Resource {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	v.follow()
	var out map[model.ResourceType][]*model.Resource
	for n := range v.quick {
		if _, dirty := v.old[n]; !dirty {
			continue
		}
		if _, held := v.held[n]; held {
			continue
		}
		e := v.store.answering(n)
		if e == nil || e.serving() == nil || !ok(n) {
			continue
		}
		delete(v.old, n)
		if out == nil {
			out = make(map[model.ResourceType][]*model.Resource)
		}
		out[n.Type] = append(out[n.Type], under(e.serving(), n.Name))
	}
	v.quick = nil
	return out
}
