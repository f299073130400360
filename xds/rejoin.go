package xds

import (
	"slices"
	"strconv"

	"github.com/sluicegw/sluice/model"
)

// This file is about a proxy that comes back with what it had from another stream.
// What is new it gets when it asks. What changed and may name something new, and
// what is gone, waits until the proxy has the rest, and then takes the steps of a
// round: so a change that was made meanwhile loses no more than any other.

// keepsBrought notes that name, of which the proxy brought a version along, changes
// later; gone is whether it goes. It reports whether that may be.
func (s *stream) keepsBrought(sub *subscription, name, version string, gone bool) bool {
	if sub.typ == model.TypeSecret || !gone && !late(sub.typ) {
		return false
	}
	hash, err := strconv.ParseUint(version, 16, 64)
	if err != nil {
		return false
	}
	if s.left == nil {
		s.left = &delta{upserts: map[model.ResourceType][]string{}, removals: map[model.ResourceType][]string{}}
	}
	into := s.left.upserts
	if gone {
		into = s.left.removals
	}
	into[sub.typ] = append(into[sub.typ], name)
	n := model.ResourceName{Type: sub.typ, Name: name}
	h := sub.have[name]
	h.taken, h.stale = &model.Resource{ResourceName: n, Hash: hash}, true
	sub.have[name] = h
	delete(s.wants, n)
	return true
}

// rejoin returns what the proxy brought along and has to change or lose; nil if
// there is nothing, or not yet.
func (s *stream) rejoin() *delta {
	if s.left == nil || len(s.wants) > 0 {
		return nil
	}
	for _, t := range []model.ResourceType{model.TypeCluster, model.TypeListener, model.TypeScope} {
		if s.subs[t] == nil && (t != model.TypeScope || len(s.view.names(t)) > 0) {
			return nil
		}
	}
	for _, r := range s.flight {
		if !r.free && !s.cold(r) {
			return nil
		}
	}
	d := s.left
	s.left = nil
	d.gen = s.complete
	for t, names := range d.removals {
		slices.Sort(names)
		shown := s.view.look(t, names)
		d.removals[t] = names[:0]
		for i, x := range shown {
			if x.res == nil && !x.withheld && !x.later { // it may have come back
				d.removals[t] = append(d.removals[t], names[i])
			}
		}
	}
	for _, names := range d.upserts {
		slices.Sort(names)
	}
	return d
}
