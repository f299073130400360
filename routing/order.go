package routing

import (
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
)

// entry is a route with where it comes from: one alternative of one rule.
type entry struct {
	route    *routev3.Route
	catchAll bool
	set      *model.RouteSet
	place
}

// place is where a match is written, or a rule without one.
type place struct {
	by    model.Ref
	field string
}

// seenFrom returns p for a reader of the object by.
func (p place) seenFrom(by model.Ref) string {
	if p.by == by {
		return p.field
	}
	return p.field + " of " + p.by.String()
}

// author returns who wrote rule.
func author(set *model.RouteSet, rule *model.HTTPRule) model.Ref {
	if rule.Owner != (model.Ref{}) {
		return rule.Owner
	}
	return set.Ref
}

// setEntries translates one route set. Each pair of a rule and one of its
// matches is a route. What follows a catch-all in the set takes no request and
// is left out with a warning.
//
// Source: Istio translates the rules of a VirtualService in the order written
// and stops behind the first catch-all.
func setEntries(in *HostInput, b Binding) ([]entry, []model.Problem) {
	var (
		out      []entry
		problems []model.Problem
		closedBy *place
	)
	for i := range b.Set.HTTP {
		rule := &b.Set.HTTP[i]
		matches := applicable(in, rule, b.Gateways)
		if len(matches) == 0 {
			continue
		}
		if closedBy != nil {
			problems = append(problems, afterCatchAll(place{author(b.Set, rule), rule.Field}, *closedBy))
			continue
		}
		es, ps := ruleEntries(in, b.Set, ruleMatches{rule, matches})
		out = append(out, es...)
		problems = append(problems, ps...)
		if n := len(es); n > 0 && es[n-1].catchAll {
			closedBy = &es[n-1].place
		}
	}
	return out, problems
}

// ruleMatches is a rule with those of its matches that apply here.
type ruleMatches struct {
	rule    *model.HTTPRule
	matches []model.Match
}

// ruleEntries translates one rule. What the good conditions of a match with a
// fault take answers 500; that comes last, because another alternative may serve
// it. A catch-all ends the list.
func ruleEntries(in *HostInput, set *model.RouteSet, rm ruleMatches) ([]entry, []model.Problem) {
	var (
		good, broken []entry
		by           = author(set, rm.rule)
	)
	served, problems := serve(in, by, rm.rule)
	for i := range rm.matches {
		m := &rm.matches[i]
		match, fault := routeMatch(m), m.Fault
		if p := checkMatch(by, m, match); p != nil {
			problems = append(problems, *p)
			m = readable(by, m)
			match, fault = routeMatch(m), &model.RuleFault{Reason: p.Reason}
		}
		bound(in, rm.rule, match)
		e := entry{
			route:    &routev3.Route{Name: routeName(by, rm.rule, m), Match: match, StatPrefix: m.StatPrefix},
			catchAll: isCatchAll(match),
			set:      set,
			place:    place{by, m.Field},
		}
		if fault != nil {
			act(e.route, refuse(500, fault.Reason))
			broken = append(broken, e)
			continue
		}
		act(e.route, served)
		good = append(good, e)
	}
	out, ps := untilCatchAll(append(good, broken...))
	return out, append(problems, ps...)
}

// untilCatchAll returns the entries up to the first that takes every request, and
// the problems of those behind it.
func untilCatchAll(entries []entry) ([]entry, []model.Problem) {
	end := 1 + slices.IndexFunc(entries, func(e entry) bool { return e.catchAll })
	if end == 0 {
		return entries, nil
	}
	var problems []model.Problem
	for _, e := range entries[end:] {
		problems = append(problems, afterCatchAll(e.place, entries[end-1].place))
	}
	return entries[:end], problems
}

// act makes route do what served does.
func act(route, served *routev3.Route) {
	route.Action = served.Action
	route.RequestHeadersToAdd = served.RequestHeadersToAdd
	route.RequestHeadersToRemove = served.RequestHeadersToRemove
	route.ResponseHeadersToAdd = served.ResponseHeadersToAdd
	route.ResponseHeadersToRemove = served.ResponseHeadersToRemove
	route.TypedPerFilterConfig = served.TypedPerFilterConfig
}

// order returns the routes of a host in the order in which Envoy tries them:
// as given, with the first catch-all at the end. A route takes no request and is
// left out with a warning when an earlier one has the same conditions, or takes
// its path whatever else it asks for.
//
// Source: Istio appends the rules of VirtualServices that share a host oldest
// first, then moves the catch-alls behind the others; it does not sort by
// specificity.
func order(host string, entries []entry) ([]*routev3.Route, []model.Problem) {
	var (
		routes   []*routev3.Route
		problems []model.Problem
		last     *entry
		seen     = make(map[string]*entry, len(entries))
		taken    takenPaths
	)
	for i := range entries {
		e := &entries[i]
		if e.catchAll {
			if last != nil {
				problems = append(problems, shadowed(host, e, last))
				continue
			}
			last = e
			continue
		}
		key := matchKey(e.route.GetMatch())
		if first, ok := seen[key]; ok {
			problems = append(problems, shadowed(host, e, first))
			continue
		}
		if first := taken.by(e.route.GetMatch()); first != nil {
			problems = append(problems, pathTaken(host, e, first))
			continue
		}
		seen[key] = e
		taken.add(e)
		routes = append(routes, e.route)
	}
	if last != nil {
		routes = append(routes, last.route)
	}
	return routes, problems
}

// takenPaths are the paths of which routes without other conditions leave
// nothing to those behind them.
type takenPaths struct{ prefixes, exact map[string]*entry }

func (t *takenPaths) add(e *entry) {
	path := pathOf(e.route.GetMatch())
	switch {
	case !unconditional(e.route.GetMatch()):
	case path.everything:
		if t.prefixes == nil {
			t.prefixes = make(map[string]*entry)
		}
		t.prefixes[path.literal] = e
	case path.exact:
		if t.exact == nil {
			t.exact = make(map[string]*entry)
		}
		t.exact[path.literal] = e
	}
}

// by returns the entry that takes every path of m, nil if there is none.
func (t *takenPaths) by(m *routev3.RouteMatch) *entry {
	if len(t.prefixes)+len(t.exact) == 0 {
		return nil
	}
	path := pathOf(m)
	if e := t.exact[path.literal]; e != nil && path.exact {
		return e
	}
	for end := 0; end <= len(path.literal) && len(t.prefixes) > 0; end++ {
		if e := t.prefixes[path.literal[:end]]; e != nil {
			return e
		}
	}
	return nil
}

// matchKey is equal for equal conditions.
func matchKey(m *routev3.RouteMatch) string {
	// The match was marshalled once by checkMatch, so this cannot fail.
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return string(b)
}

// routeName returns "rule" or "rule.match"; a rule without a name is called
// "namespace/name/index" of its author. It is never empty: the scoped layout tells a found
// route by its name.
func routeName(by model.Ref, rule *model.HTTPRule, m *model.Match) string {
	name := rule.Name
	if name == "" {
		name = by.Namespace + "/" + by.Name + "/" + ruleIndex(rule.Field)
	}
	if m.Name != "" {
		name += "." + m.Name
	}
	return name
}

// ruleIndex returns "3" for "spec.http[3]", and field itself if it has no index.
func ruleIndex(field string) string {
	open := strings.LastIndexByte(field, '[')
	if open < 0 || !strings.HasSuffix(field, "]") {
		return field
	}
	return field[open+1 : len(field)-1]
}
