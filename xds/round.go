package xds

import (
	"slices"
	"time"

	"github.com/sluicegw/sluice/model"
)

// round is the way of one stream from one view to the next, step by step.
type round struct {
	*delta
	step int // the next one to send
	// mark is the last response that the next step waits for.
	mark uint64
	// early: clusters and endpoints of the round may not be in place yet.
	early   bool
	sending bool // a step is being sent right now
	began   time.Time
	pushed  bool // something was sent
}

// advance does everything that can be done without hearing from the proxy.
func (s *stream) advance() {
	s.sendQuick()
	s.decline()
	for s.err == nil {
		if s.round == nil {
			d := s.rejoin()
			if d == nil {
				d = s.view.advance()
			}
			if d == nil {
				break
			}
			s.begin(d)
		}
		if !s.proceed() {
			break
		}
	}
	s.settle()
}

// sendQuick sends endpoints and secrets that changed under clusters and
// listeners that did not, and secrets that a client waits for: nothing has to wait
// for them, nor they for anything.
func (s *stream) sendQuick() {
	quick := s.view.takeQuick(func(n model.ResourceName) bool {
		if s.round != nil {
			if _, held := s.round.held[n]; held {
				return false
			}
		}
		sub := s.subs[n.Type]
		return sub != nil && (sub.have[n.Name].taken != nil || onDemand(n)) && sub.wanted(n.Name)
	})
	for _, t := range []model.ResourceType{model.TypeEndpoint, model.TypeSecret} {
		rs := slices.DeleteFunc(quick[t], func(r *model.Resource) bool {
			sent := s.subs[t].have[r.Name].sent
			return sent != nil && sent.Hash == r.Hash
		})
		sortByName(rs)
		s.send(batch{typ: t, resources: rs, free: true})
	}
}

func (s *stream) begin(d *delta) {
	s.round = &round{delta: d, mark: s.seq, early: true, began: time.Now()}
	for t, names := range d.removals {
		for _, name := range names {
			delete(s.wants, model.ResourceName{Type: t, Name: name})
		}
	}
}

// proceed sends the steps of the round that may go now. It reports whether the
// round ended.
func (s *stream) proceed() bool {
	r := s.round
	for ; r.step < len(s.srv.order); r.step++ {
		st := s.srv.order[r.step]
		if !r.touches(st) {
			continue
		}
		if r.step > 0 && !s.clear() {
			return false
		}
		if r.step >= firstLate {
			r.early = false
		}
		before := s.seq
		r.sending = true
		s.push(st)
		r.sending = false
		r.mark, r.pushed = s.seq, r.pushed || s.seq > before
	}
	if !s.clear() {
		return false
	}
	s.complete, s.round = r.gen, nil
	if r.pushed {
		s.srv.counts.round(time.Since(r.began))
	}
	return true
}

// touches reports whether the step has anything to bring or to take.
func (r *round) touches(st step) bool {
	for _, t := range st.types {
		if len(r.names(st, t)) > 0 {
			return true
		}
	}
	return false
}

// names returns what the step has of type t.
func (r *round) names(st step, t model.ResourceType) []string {
	switch {
	case st.remove:
		return r.removals[t]
	case st.fresh:
		return slices.DeleteFunc(slices.Clone(r.upserts[t]), func(name string) bool {
			return r.old[model.ResourceName{Type: t, Name: name}] != nil
		})
	}
	return r.upserts[t]
}

// push sends what a step has for this stream.
func (s *stream) push(st step) {
	for _, t := range st.types {
		sub := s.subs[t]
		if sub == nil {
			continue
		}
		if st.remove {
			s.send(batch{typ: t, removed: sub.held(s.round.names(st, t))})
			continue
		}
		rs := s.missing(sub, s.round.names(st, t))
		if t == model.TypeListener {
			s.sendRoutesOf(rs)
		}
		s.send(batch{typ: t, resources: rs})
	}
}

// sendRoutesOf sends the routes that listeners need and the proxy subscribes to but
// does not have: a listener that read them has left and is still draining. The new
// one joins its subscription, so the proxy does not ask for them again.
//
// Source: measured on Envoy 1.40: a listener that came back within the drain time
// had its round wait until [Options.NeedTimeout].
func (s *stream) sendRoutesOf(listeners []*model.Resource) {
	sub := s.subs[model.TypeRoute]
	if sub == nil {
		return
	}
	var names []string
	for _, l := range listeners {
		for _, n := range l.Needs {
			if n.Type == model.TypeRoute && sub.have[n.Name].sent == nil {
				names = append(names, n.Name)
			}
		}
	}
	slices.Sort(names)
	s.send(batch{typ: model.TypeRoute, resources: s.missing(sub, slices.Compact(names))})
}

// missing returns the resources among names that the proxy is to have and has
// not been sent in the version of the view.
func (s *stream) missing(sub *subscription, names []string) []*model.Resource {
	wanted := make([]string, 0, len(names))
	for _, name := range names {
		if sub.wanted(name) {
			wanted = append(wanted, name)
		}
	}
	var out []*model.Resource
	for i, x := range s.view.look(sub.typ, wanted) {
		sent := sub.have[wanted[i]].sent
		if x.res != nil && (sent == nil || sent.Hash != x.res.Hash) {
			out = append(out, x.res)
		}
	}
	return out
}

// held returns those of names of which the proxy may hold a resource.
func (sub *subscription) held(names []string) []string {
	var out []string
	for _, name := range names {
		h := sub.have[name]
		if h.sent != nil || h.taken != nil || h.stale {
			out = append(out, name)
		}
	}
	return out
}

// settle works out which generation the proxy has acknowledged.
func (s *stream) settle() {
	if s.err != nil || s.left != nil || !s.synced && !s.inSync() {
		return
	}
	if s.round != nil && s.round.gen == s.complete {
		return // it rejoins
	}
	s.synced = true
	acked := s.complete
	if len(s.flight) > 0 {
		acked = min(acked, s.flight[0].floor)
	}
	if acked > s.acked {
		s.acked = acked
		s.srv.store.setAcked(s.ses, acked)
		s.report()
	}
}

// inSync reports whether the proxy has what it asked for at first, and what
// that needs.
func (s *stream) inSync() bool {
	if len(s.wants) > 0 {
		return false
	}
	for _, t := range []model.ResourceType{model.TypeCluster, model.TypeListener, model.TypeScope} {
		sub := s.subs[t]
		if sub == nil {
			if t == model.TypeScope {
				continue
			}
			return false
		}
		for _, r := range s.flight {
			if r.typ == t && r.seq <= sub.opened {
				return false
			}
		}
	}
	return true
}
