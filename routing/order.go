package routing

import (
	"fmt"
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
	// field is the path of the match, or of a rule without one.
	field string
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
		closedBy string
	)
	for i := range b.Set.HTTP {
		rule := &b.Set.HTTP[i]
		matches := applicable(in.Port, rule, b.Gateways)
		if len(matches) == 0 {
			continue
		}
		if closedBy != "" {
			problems = append(problems, afterCatchAll(b.Set, rule.Field, closedBy))
			continue
		}
		es, ps := ruleEntries(in, b.Set, ruleMatches{rule, matches})
		out = append(out, es...)
		problems = append(problems, ps...)
		if n := len(es); n > 0 && es[n-1].catchAll {
			closedBy = es[n-1].field
		}
	}
	return out, problems
}

// ruleMatches is a rule with those of its matches that apply here.
type ruleMatches struct {
	rule    *model.HTTPRule
	matches []model.Match
}

// ruleEntries translates one rule. A match that Envoy would refuse is left out
// with a problem; a catch-all ends the list.
func ruleEntries(in *HostInput, set *model.RouteSet, rm ruleMatches) ([]entry, []model.Problem) {
	var (
		out      []entry
		problems []model.Problem
		closedBy string
	)
	for i := range rm.matches {
		m := &rm.matches[i]
		if closedBy != "" {
			problems = append(problems, afterCatchAll(set, m.Field, closedBy))
			continue
		}
		match := routeMatch(m)
		if p := checkMatch(set, m, match); p != nil {
			problems = append(problems, *p)
			continue
		}
		e := entry{
			route:    &routev3.Route{Name: routeName(set, rm.rule, m), Match: match},
			catchAll: isCatchAll(match),
			set:      set,
			field:    m.Field,
		}
		if e.catchAll {
			closedBy = e.field
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil, problems
	}
	served, ps := serve(in, set, rm.rule)
	for _, e := range out {
		e.route.Action = served.Action
		e.route.RequestHeadersToAdd = served.RequestHeadersToAdd
		e.route.RequestHeadersToRemove = served.RequestHeadersToRemove
		e.route.ResponseHeadersToAdd = served.ResponseHeadersToAdd
		e.route.ResponseHeadersToRemove = served.ResponseHeadersToRemove
	}
	return out, append(problems, ps...)
}

// order returns the routes of a host in the order in which Envoy tries them:
// as given, with the first catch-all at the end. A route whose conditions an
// earlier one has too takes no request and is left out with a warning.
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
		seen[key] = e
		routes = append(routes, e.route)
	}
	if last != nil {
		routes = append(routes, last.route)
	}
	return routes, problems
}

// matchKey is equal for equal conditions.
func matchKey(m *routev3.RouteMatch) string {
	// The match was marshalled once by checkMatch, so this cannot fail.
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return string(b)
}

func afterCatchAll(set *model.RouteSet, field, closedBy string) model.Problem {
	return model.Problem{
		Object:   set.Ref,
		Field:    field,
		Reason:   model.ReasonUnreachableRule,
		Severity: model.SeverityWarning,
		Message: fmt.Sprintf("%s takes no request, because %s before it takes every one; put the rule for all requests last",
			field, closedBy),
	}
}

func shadowed(host string, e, first *entry) model.Problem {
	p := model.Problem{
		Object:   e.set.Ref,
		Field:    e.field,
		Reason:   model.ReasonUnreachableRule,
		Severity: model.SeverityWarning,
	}
	switch {
	case e.set == first.set:
		p.Message = fmt.Sprintf("%s takes no request, because %s before it has the same conditions; remove one of the two",
			e.field, first.field)
	case e.catchAll:
		p.Message = fmt.Sprintf("%s takes no request of host %s, because %s of the older %s takes every request left over there; "+
			"give it a condition or remove one of the two", e.field, host, first.field, first.set.Ref)
	default:
		p.Message = fmt.Sprintf("%s takes no request of host %s, because %s of the older %s has the same conditions; "+
			"remove one of the two", e.field, host, first.field, first.set.Ref)
	}
	return p
}

// routeName returns "rule" or "rule.match"; a rule without a name is called
// "namespace/name/index". It is never empty: the scoped layout tells a found
// route by its name.
func routeName(set *model.RouteSet, rule *model.HTTPRule, m *model.Match) string {
	name := rule.Name
	if name == "" {
		name = set.Ref.Namespace + "/" + set.Ref.Name + "/" + ruleIndex(rule.Field)
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
