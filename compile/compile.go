// Package compile turns declared objects into Envoy resources, incrementally.
//
// What goes in: steps of raw objects from the sources ([Compiler.Apply]). What
// comes out: a [Result], the resources that changed since the step before and
// the problems that were found on the way. It alone decides which result
// depends on which input: package graph is the engine, rules.go says what reads
// what. The translators that it calls are pure, and so is the whole: the result
// of many small steps is, byte for byte, the result of one large one.
//
// A Compiler is used by one goroutine.
package compile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/config/unread"
	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/tls"
)

// Options are what a [Compiler] is made of.
type Options struct {
	// Kinds are the kinds that are read; objects of others are problems.
	Kinds map[config.GroupKind]config.Kind
	// ScopedAbove is the number of hosts above which a route table takes the
	// scoped layout, for good; 0 means always. TLS hosts with exact names alone are
	// asked at first sight only.
	ScopedAbove int
	// Fleet is what the proxies are.
	Fleet Fleet
	// Prepare is asked whenever [Compiler.Wants] change, before anything is
	// returned, for what is known at once; nil knows nothing.
	Prepare func(*Wants) Facts
	// Now tells by which time a new certificate is judged; nil judges none.
	Now func() time.Time
}

// Compiler holds all objects and everything derived from them.
type Compiler struct {
	options   Options
	rules     *rules
	asked     *Wants                                 // of Prepare
	resources map[model.ResourceName]*model.Resource // as published
	reports   map[string][]model.Problem             // of the rules, as published
	lingering map[model.ResourceName]lingering
	batch     uint64 // counts changes
}

// Result is what one step changed.
type Result struct {
	Change model.Change
	// Reports replace the problems that were reported under the same name.
	Reports []model.Report
	// Pairs are certificates of servers that came, changed or, nil, went.
	Pairs map[model.Credential]*tls.Certificate
	// Ran counts how often each rule ran.
	Ran map[string]int
}

// New returns a compiler without objects.
func New(o Options) *Compiler {
	return &Compiler{
		options: o, rules: newRules(o),
		resources: map[model.ResourceName]*model.Resource{}, reports: map[string][]model.Problem{}, lingering: map[model.ResourceName]lingering{},
	}
}

// Settings returns the settings in force.
func (c *Compiler) Settings() model.Settings {
	if s := c.rules.settings.Value(none{}); s != nil {
		return *s
	}
	return *c.rules.defaults
}

// Apply takes the objects of some steps in their order and returns what they
// changed together.
func (c *Compiler) Apply(steps ...config.Step) Result {
	reports := map[string][]model.Problem{}
	var gone []model.Ref
	for _, s := range steps {
		for i := range s.Upserts {
			v, problems := c.decode(s.Upserts[i])
			c.rules.set(s.Upserts[i].Ref, v)
			reports[decodeReport(s.Upserts[i].Ref)] = problems
		}
		for _, ref := range s.Removals {
			c.rules.set(ref, nil)
			reports[decodeReport(ref)] = nil
			gone = append(gone, ref)
		}
	}
	res := c.settle(gone)
	for by, ps := range reports {
		res.Reports = append(res.Reports, model.Report{By: by, Problems: ps})
	}
	slices.SortFunc(res.Reports, func(a, b model.Report) int { return strings.Compare(a.By, b.By) })
	return res
}

func decodeReport(r model.Ref) string { return "decode(" + r.Group + "/" + r.String() + ")" }

// decode gives an object its meaning.
func (c *Compiler) decode(o config.Object) (v model.Value, problems []model.Problem) {
	group, version, ok := strings.Cut(o.APIVersion, "/")
	if !ok {
		group, version = "", o.APIVersion
	}
	kind, ok := c.options.Kinds[config.GroupKind{Group: group, Kind: o.Ref.Kind}]
	if !ok {
		return nil, []model.Problem{unread.Problem(o, c.options.Kinds)}
	}
	if !slices.Contains(kind.Versions, version) {
		return nil, []model.Problem{{
			Object: o.Ref, Field: "apiVersion", Reason: model.ReasonUnsupportedVersion, Severity: model.SeverityError,
			Message: fmt.Sprintf("version %q of %s is not read; use one of %s", version, o.Ref.Kind, strings.Join(kind.Versions, ", ")),
		}}
	}
	defer func() {
		// One object that breaks its decoder must not take the others along.
		if r := recover(); r != nil {
			v, problems = nil, []model.Problem{{
				Object: o.Ref, Reason: model.ReasonInternal, Severity: model.SeverityError,
				Message: fmt.Sprintf("Sluice could not read this object because of a fault of its own; please report it: %v", r),
			}}
		}
	}()
	return kind.Decode(o)
}

// settle runs the rules and gathers what came of it.
func (c *Compiler) settle(gone []model.Ref) Result {
	c.rules.g.Settle()
	if w := c.Wants(); w != c.asked && c.options.Prepare != nil {
		c.asked = w
		c.rules.learn(c.options.Prepare(w))
		c.rules.g.Settle()
	}
	for _, ref := range gone {
		if c.rules.objects.Get(ref) == nil {
			c.rules.forget(ref)
		}
	}
	c.keep()
	c.rules.g.Settle()
	if c.options.Now != nil && len(c.rules.notedPairs) > 0 {
		c.rules.judgeNoted(c.options.Now())
		c.rules.g.Settle()
	}
	return c.collect()
}

// collect compares what the touched results say with what they said before.
func (c *Compiler) collect() Result {
	g := c.rules.g
	res := Result{Ran: g.Ran(), Pairs: c.rules.takePairs()}
	upserts := map[model.ResourceName]*model.Resource{}
	removals := map[model.ResourceName]bool{}
	for _, change := range g.Changes() {
		before, _ := change.Before.(output)
		after, _ := change.After.(output)
		diffResources(before, after, upserts, removals)
		if p, changed := diffProblems(before, after); changed {
			res.Reports = append(res.Reports, model.Report{By: change.Name, Problems: p})
		}
	}
	for name, r := range upserts {
		delete(removals, name)
		res.Change.Upserts = append(res.Change.Upserts, r)
	}
	for name := range removals {
		res.Change.Removals = append(res.Change.Removals, name)
	}
	sortResources(res.Change.Upserts)
	slices.SortFunc(res.Change.Removals, model.ResourceName.Compare)
	announced := model.Change{Upserts: slices.Clone(res.Change.Upserts), Removals: res.Change.Removals}
	c.linger(&announced)
	c.remember(res)
	res.Change = announced
	return res
}

func sortResources(rs []*model.Resource) {
	slices.SortFunc(rs, func(a, b *model.Resource) int { return a.Compare(b.ResourceName) })
}

// remember keeps what was published, for [Compiler.Verify].
func (c *Compiler) remember(res Result) {
	for _, r := range res.Change.Upserts {
		c.resources[r.ResourceName] = r
	}
	for _, n := range res.Change.Removals {
		delete(c.resources, n)
	}
	for _, r := range res.Reports {
		if len(r.Problems) == 0 {
			delete(c.reports, r.By)
			continue
		}
		c.reports[r.By] = r.Problems
	}
}

func diffResources(before, after output, upserts map[model.ResourceName]*model.Resource, removals map[model.ResourceName]bool) {
	old := map[model.ResourceName]*model.Resource{}
	if before != nil {
		for _, r := range before.resources() {
			old[r.ResourceName] = r
		}
	}
	if after != nil {
		for _, r := range after.resources() {
			if o := old[r.ResourceName]; o == nil || !equalResource(o, r) {
				upserts[r.ResourceName] = r
			}
			delete(old, r.ResourceName)
		}
	}
	for name := range old {
		removals[name] = true
	}
}

func diffProblems(before, after output) ([]model.Problem, bool) {
	var b, a []model.Problem
	if before != nil {
		b = before.problems()
	}
	if after != nil {
		a = after.problems()
	}
	return a, !slices.Equal(b, a)
}
