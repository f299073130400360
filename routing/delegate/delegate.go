// Package delegate puts the rules of route sets that are delegated to in the
// place of the rules that delegate.
//
// What goes in: a route set, and a way to find others. What comes out: a route
// set without delegation, as package routing takes it, and the problems for the
// authors of both sides. It alone decides which of the matches of a delegated
// rule count, and what the rule inherits. Nothing here reads a clock, a socket or
// a store; same input, same output.
package delegate

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/sluicegw/sluice/model"
)

// Expand returns root with the rules of other sets in the place of those that
// delegate to them, and the problems of that. Find returns the set that is
// delegated to, nil if there is none or root may not see it. A root that
// delegates nothing is returned as it is; no set is changed.
//
// A rule of the other set takes the requests that fit the delegating rule and
// itself: a match that is not narrower than the delegating rule's is left out
// with a problem for its author. What it does not say itself of rewrite, timeout,
// retries, fault, mirrors, cors and headers it has from the delegating rule.
// Its name is "root-child", its owner the other set. There is one level: a
// delegated rule that delegates answers 500, and so does a delegation to
// nothing.
//
// Source: Istio, VirtualService delegation; there, a rule of which one match is
// too wide is dropped whole, and so is a delegation to nothing.
func Expand(root *model.RouteSet, find func(model.Delegate) *model.RouteSet) (*model.RouteSet, []model.Problem) {
	if !slices.ContainsFunc(root.HTTP, func(r model.HTTPRule) bool { return r.Delegate != nil }) {
		return root, nil
	}
	out := *root
	out.HTTP = make([]model.HTTPRule, 0, len(root.HTTP))
	var problems []model.Problem
	for i := range root.HTTP {
		rule := &root.HTTP[i]
		if rule.Delegate == nil {
			out.HTTP = append(out.HTTP, *rule)
			continue
		}
		rules, ps := expandRule(root, rule, find(*rule.Delegate))
		out.HTTP = append(out.HTTP, rules...)
		problems = append(problems, ps...)
	}
	slices.SortFunc(problems, model.Problem.Compare)
	return &out, slices.Compact(problems)
}

// expandRule returns what takes the place of a rule that delegates to child.
func expandRule(root *model.RouteSet, rule *model.HTTPRule, child *model.RouteSet) ([]model.HTTPRule, []model.Problem) {
	to := rule.Delegate.Namespace + "/" + rule.Delegate.Name
	message := ""
	switch {
	case rule.Fault != nil:
		return []model.HTTPRule{spoiled(*rule, rule.Fault.Reason)}, nil
	case child == nil:
		message = fmt.Sprintf("there is no route set %s that is visible here; declare it, or export it to the namespace %q", to, root.Ref.Namespace)
	case len(child.Hosts) > 0:
		message = fmt.Sprintf("%s has hosts of its own, and such a route set cannot be delegated to; remove its hosts", to)
	}
	if message != "" {
		p := fault(root.Ref, rule.Field+".delegate", model.ReasonDelegateMissing, message)
		return []model.HTTPRule{spoiled(*rule, p.Reason)}, []model.Problem{*p}
	}
	good, broken := split(rule)
	var (
		out      []model.HTTPRule
		problems []model.Problem
		from     = delegation{by: root.Ref, rule: good, owner: child.Ref}
	)
	for i := range child.HTTP {
		if good == nil {
			break
		}
		r, ps := from.join(child.HTTP[i])
		problems = append(problems, ps...)
		if r != nil {
			out = append(out, *r)
		}
	}
	if broken != nil {
		out = append(out, *broken)
	}
	return out, problems
}

// split returns a rule that delegates with its good matches, and one that answers
// 500 with the others: what those take is nobody's to serve. Either may be nil.
func split(rule *model.HTTPRule) (good, broken *model.HTTPRule) {
	isBroken := func(m model.Match) bool { return m.Fault != nil }
	if !slices.ContainsFunc(rule.Matches, isBroken) {
		return rule, nil
	}
	spoilt := spoiled(*rule, "")
	spoilt.Matches = nil
	served := *rule
	served.Matches = nil
	for _, m := range rule.Matches {
		if isBroken(m) {
			spoilt.Fault.Reason = cmp.Or(spoilt.Fault.Reason, m.Fault.Reason)
			spoilt.Matches = append(spoilt.Matches, m)
		} else {
			served.Matches = append(served.Matches, m)
		}
	}
	if len(served.Matches) == 0 {
		return nil, &spoilt
	}
	return &served, &spoilt
}

func fault(by model.Ref, field string, reason model.Reason, message string) *model.Problem {
	return &model.Problem{Object: by, Field: field, Reason: reason, Message: message, Severity: model.SeverityError}
}

// spoiled returns rule answering 500.
func spoiled(rule model.HTTPRule, reason model.Reason) model.HTTPRule {
	rule.Delegate, rule.Fault = nil, &model.RuleFault{Reason: reason}
	return rule
}

// delegation is a rule that delegates, with its author and that of the rules
// that take its place.
type delegation struct {
	by    model.Ref
	rule  *model.HTTPRule
	owner model.Ref
}

// join returns r, a rule of the other set, as it counts under the delegating
// rule; nil if it takes no request.
func (d *delegation) join(r model.HTTPRule) (*model.HTTPRule, []model.Problem) {
	r.Owner = d.owner
	matches, problems := d.matches(&r)
	if len(matches) == 0 && len(d.rule.Matches)+len(r.Matches) > 0 {
		return nil, problems
	}
	r.Matches = matches
	r.Name = joined(d.rule.Name, r.Name)
	if r.Delegate != nil {
		problems = append(problems, *fault(d.owner, r.Field+".delegate", model.ReasonInvalidValue, fmt.Sprintf(
			"%s delegates here already, and there is one level of delegation only; give the rule an action of its own", d.by)))
		r = spoiled(r, model.ReasonInvalidValue)
	}
	d.bequeath(&r)
	return &r, problems
}

// bequeath fills in what r does not say itself.
func (d *delegation) bequeath(r *model.HTTPRule) {
	if r.Rewrite == nil {
		r.Rewrite = d.rule.Rewrite
	}
	if r.Timeout == nil {
		r.Timeout = d.rule.Timeout
	}
	if r.Retries == nil {
		r.Retries = d.rule.Retries
	}
	if r.Inject == nil {
		r.Inject = d.rule.Inject
	}
	if r.CORS == nil {
		r.CORS = d.rule.CORS
	}
	if isUnset(r.Headers) {
		r.Headers = d.rule.Headers
	}
	if len(r.Mirrors) == 0 {
		r.Mirrors = slices.Clone(d.rule.Mirrors)
		for i := range r.Mirrors {
			r.Mirrors[i].Field = r.Field + ".mirror" // near where the new owner looks
		}
	}
}

func isUnset(h model.HeaderOperations) bool {
	side := func(c model.HeaderChanges) int { return len(c.Set) + len(c.Add) + len(c.Remove) }
	return h.SetAuthority == "" && side(h.Request)+side(h.Response) == 0
}

func joined(root, child string) string {
	if root == "" || child == "" {
		return root + child
	}
	return root + "-" + child
}

// matches returns each match of r within each of the delegating rule's that is
// wider. Matches that r has none of are the delegating rule's, in r's place.
func (d *delegation) matches(r *model.HTTPRule) ([]model.Match, []model.Problem) {
	if len(d.rule.Matches) == 0 {
		return r.Matches, nil
	}
	if len(r.Matches) == 0 {
		out := slices.Clone(d.rule.Matches)
		for i := range out {
			out[i].Field = r.Field
		}
		return out, nil
	}
	var (
		out      []model.Match
		problems []model.Problem
	)
	for i := range r.Matches {
		m := &r.Matches[i]
		found, conflict := false, ""
		for j := range d.rule.Matches {
			both, field := narrowed(&d.rule.Matches[j], m)
			if field == "" {
				out = append(out, both)
				found = true
			} else if conflict == "" {
				conflict = field
			}
		}
		if !found {
			problems = append(problems, *fault(d.owner, m.Field, model.ReasonDelegateConflict, fmt.Sprintf(
				"%s takes no request, because its %s is not within that of %s of %s, which delegates here; narrow it or leave it out",
				m.Field, conflict, d.rule.Field, d.by)))
		}
	}
	return out, problems
}
