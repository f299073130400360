package istio

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/model"
)

// reader is the state of one decoding: whose object it is, what is wrong with
// it, and where.
//
// The report functions differ in what a problem costs the parts around it:
//
//	warn  nothing: the part is served as written
//	note  nothing: the part is served without what was reported
//	lose  a field was left out; parts that are wider without it must go (any)
//	fail  a value cannot be used; parts that depend on it must go (broken)
type reader struct {
	meta     model.Meta
	problems []model.Problem
	// faults holds every path with a lost or failed value at or below it.
	faults map[string]fault
}

// fault is what is known of a path with a fault at or below it.
type fault struct {
	// count is the number of faults at or below.
	count int
	// own is the reason of the first fault at exactly this path; "" if none.
	own model.Reason
	// broken is the reason of the first fail at or below; "" if none.
	broken model.Reason
}

// finding is what a check has to say about a value; nil when it is good.
type finding struct {
	reason  model.Reason
	message string
}

// invalid returns the finding of a value that is malformed or out of range.
func invalid(format string, args ...any) *finding {
	return &finding{model.ReasonInvalidValue, fmt.Sprintf(format, args...)}
}

func missing(format string, args ...any) *finding {
	return &finding{model.ReasonMissingField, fmt.Sprintf(format, args...)}
}

func wrongType(format string, args ...any) *finding {
	return &finding{model.ReasonWrongType, fmt.Sprintf(format, args...)}
}

func notYet(format string, args ...any) *finding {
	return &finding{model.ReasonNotYetSupported, fmt.Sprintf(format, args...)}
}

// All of them report nothing for nil; note and fail return whether there was
// something to report.
func (r *reader) warn(at *path, f *finding) { r.add(at, f, model.SeverityWarning) }

func (r *reader) note(at *path, f *finding) bool { return r.add(at, f, model.SeverityError) }

func (r *reader) lose(at *path, f *finding) {
	if r.note(at, f) {
		r.mark(at, fault{count: 1, own: f.reason})
	}
}

func (r *reader) fail(at *path, f *finding) bool {
	if !r.note(at, f) {
		return false
	}
	r.mark(at, fault{count: 1, own: f.reason, broken: f.reason})
	return true
}

func (r *reader) add(at *path, f *finding, severity model.Severity) bool {
	if f == nil {
		return false
	}
	r.problems = append(r.problems, model.Problem{
		Object: r.meta.Ref, Field: at.String(), Reason: f.reason, Message: f.message, Severity: severity,
	})
	return true
}

// mark records a fault at a path and at every path that holds it.
func (r *reader) mark(at *path, f fault) {
	for p := at; p != nil; p = p.up {
		key := p.String()
		known := r.faults[key]
		r.faults[key] = fault{
			count:  known.count + f.count,
			own:    cmp.Or(known.own, f.own),
			broken: cmp.Or(known.broken, f.broken),
		}
		f.own = "" // of what holds it
	}
}

func (r *reader) fault(p *path) fault {
	if len(r.faults) == 0 {
		return fault{} // the common case writes out no path
	}
	return r.faults[p.String()]
}

// count returns the number of faults at or below p.
func (r *reader) count(p *path) int { return r.fault(p).count }

// any reports whether something at or below p was left out or cannot be used.
func (r *reader) any(p *path) bool { return r.count(p) > 0 }

// at reports whether the value at exactly p is wrong.
func (r *reader) at(p *path) bool { return r.fault(p).own != "" }

// broken returns why something at or below p cannot be used, "" if it can.
func (r *reader) broken(p *path) model.Reason { return r.fault(p).broken }

// sorted returns the problems in the order of their fields, each once.
func (r *reader) sorted() []model.Problem {
	slices.SortStableFunc(r.problems, model.Problem.Compare)
	return slices.Compact(r.problems)
}

// quote returns a value of the user as it appears in a message: in quotes, cut
// to a length that people read.
func quote(s string) string {
	const longest = 80
	if len(s) > longest {
		return fmt.Sprintf("%q", s[:longest]+"…")
	}
	return fmt.Sprintf("%q", s)
}

// listing returns words as people list them: "a, b or c".
func listing(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
