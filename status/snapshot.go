package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluicegw/sluice/model"
)

// Snapshot is the state at one instant, as GET /status answers it.
type Snapshot struct {
	Generation Generation `json:"generation"`
	// Live is the generation that every proxy has reached.
	Live     Generation      `json:"liveGeneration"`
	Proxies  []ProxyStatus   `json:"proxies"`
	Objects  []ObjectStatus  `json:"objects"`
	Problems []ProblemStatus `json:"problems"` // of no object: files, proxies
	// MoreProblems counts those that Problems leaves out.
	MoreProblems int `json:"moreProblems,omitempty"`
}

// ProxyStatus is one proxy.
type ProxyStatus struct {
	Node       string     `json:"node"`
	Connected  bool       `json:"connected"`
	Since      *time.Time `json:"since,omitempty"`
	Generation Generation `json:"generation"`
	Rejected   int        `json:"rejected"`
}

// ObjectStatus is one object.
type ObjectStatus struct {
	Group      string     `json:"group,omitempty"`
	Kind       string     `json:"kind"`
	Namespace  string     `json:"namespace"`
	Name       string     `json:"name"`
	Hash       string     `json:"hash"`
	Generation Generation `json:"generation"`
	// Live is on how many of the proxies the object is true as declared.
	Live   int             `json:"live"`
	Of     int             `json:"of"`
	Since  *time.Time      `json:"since,omitempty"`
	TookMS float64         `json:"tookMs,omitempty"`
	Faults []ProblemStatus `json:"problems,omitempty"`
	// MoreProblems counts those that are left out, none worse than those named.
	MoreProblems int `json:"moreProblems,omitempty"`
}

// maxProblems is how many problems of one object, file or proxy are named.
const maxProblems = 20

// ProblemStatus is one problem.
type ProblemStatus struct {
	Field    string         `json:"field,omitempty"`
	Reason   model.Reason   `json:"reason"`
	Severity model.Severity `json:"severity"`
	Message  string         `json:"message"`
	File     string         `json:"file,omitempty"`
	Line     int            `json:"line,omitempty"`
}

// HashString is how object hashes are written.
func HashString(h uint64) string { return fmt.Sprintf("%016x", h) }

// Snapshot returns the state now, sorted.
func (b *Board) Snapshot() Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Snapshot{Generation: b.latest, Live: b.low(), Proxies: []ProxyStatus{}, Objects: []ObjectStatus{}, Problems: []ProblemStatus{}}
	for _, p := range b.proxies {
		s.Proxies = append(s.Proxies, proxyStatus(p))
	}
	slices.SortFunc(s.Proxies, func(a, b ProxyStatus) int { return strings.Compare(a.Node, b.Node) })
	refs := make([]model.Ref, 0, len(b.objects))
	for r := range b.objects {
		refs = append(refs, r)
	}
	slices.SortFunc(refs, model.Ref.Compare)
	refused, problems := b.refused(), b.problems()
	for _, r := range refs {
		o := b.objectStatus(r, refused[r])
		o.Faults, o.MoreProblems = worst(problems[r])
		s.Objects = append(s.Objects, o)
	}
	for ref, of := range problems {
		if b.objects[ref] == nil {
			named, more := worst(of)
			s.Problems, s.MoreProblems = append(s.Problems, named...), s.MoreProblems+more
		}
	}
	slices.SortFunc(s.Problems, compareProblemStatus)
	return s
}

func proxyStatus(p Proxy) ProxyStatus {
	s := ProxyStatus{Node: p.Node, Connected: p.Connected, Generation: p.Acked, Rejected: len(p.Rejected)}
	if !p.Since.IsZero() {
		s.Since = &p.Since
	}
	return s
}

// refused returns by object which proxies refuse a resource made of it.
func (b *Board) refused() map[model.Ref]map[string]bool {
	out := map[model.Ref]map[string]bool{}
	for _, p := range b.proxies {
		for _, r := range p.Rejected {
			for _, o := range r.Owners {
				if out[o] == nil {
					out[o] = map[string]bool{}
				}
				out[o][p.Node] = true
			}
		}
	}
	return out
}

func (b *Board) objectStatus(ref model.Ref, refused map[string]bool) ObjectStatus {
	o := b.objects[ref]
	s := ObjectStatus{
		Group: ref.Group, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name,
		Hash: HashString(o.hash), Generation: o.generation, Live: b.liveOn(o, refused), Of: len(b.proxies),
	}
	if !o.live.IsZero() {
		since := o.live
		s.Since = &since
		s.TookMS = float64(o.took.Microseconds()) / 1000
	}
	return s
}

// liveOn returns on how many proxies an object is true as declared.
func (b *Board) liveOn(o *object, refused map[string]bool) int {
	n := 0
	for _, p := range b.proxies {
		if p.has(o.generation) && !refused[p.Node] {
			n++
		}
	}
	return n
}

// problems returns what all reporters say, by object.
func (b *Board) problems() map[model.Ref][]model.Problem {
	out := map[model.Ref][]model.Problem{}
	for _, problems := range b.reports {
		for _, p := range problems {
			out[p.Object] = append(out[p.Object], p)
		}
	}
	return out
}

// worst returns the problems to name, sorted, each once, and how many more there
// are. It sorts the argument.
func worst(all []model.Problem) (named []ProblemStatus, more int) {
	slices.SortFunc(all, model.Problem.Compare)
	all = slices.Compact(all)
	if more = len(all) - maxProblems; more > 0 {
		slices.SortStableFunc(all, func(a, b model.Problem) int { return cmp.Compare(weight(a.Severity), weight(b.Severity)) })
		all = all[:maxProblems]
		slices.SortFunc(all, model.Problem.Compare)
	}
	named = make([]ProblemStatus, len(all))
	for i, p := range all {
		named[i] = ProblemStatus{
			Field: p.Field, Reason: p.Reason, Severity: p.Severity, Message: p.Message,
			File: p.Place.File, Line: p.Place.Line,
		}
	}
	return named, max(more, 0)
}

func compareProblemStatus(a, b ProblemStatus) int {
	return cmp.Or(
		strings.Compare(a.File, b.File),
		cmp.Compare(a.Line, b.Line),
		strings.Compare(a.Field, b.Field),
		strings.Compare(string(a.Reason), string(b.Reason)),
		strings.Compare(a.Message, b.Message),
	)
}
