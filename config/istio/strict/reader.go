package strict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/model"
)

// Reader is the state of one decoding: whose object it is, what is wrong with
// it, and where.
//
// The report functions differ in what a problem costs the parts around it:
//
//	Warn  nothing: the part is served as written
//	Note  nothing: the part is served without what was reported
//	Lose  a field was left out; parts that are wider without it must go (Any)
//	Fail  a value cannot be used; parts that depend on it must go (Broken)
type Reader struct {
	Meta     model.Meta
	problems []model.Problem
	// faults holds every path with a lost or failed value at or below it.
	faults map[string]fault
	// zeros holds every path whose value is written as the zero of its type.
	zeros map[string]bool
}

// New returns the reader of an object that nothing is known of yet.
func New(meta model.Meta) *Reader {
	return &Reader{Meta: meta, faults: map[string]fault{}, zeros: map[string]bool{}}
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

// Finding is what a check has to say about a value; nil when it is good.
type Finding struct {
	Reason  model.Reason
	Message string
}

// Invalid returns the finding of a value that is malformed or out of range.
func Invalid(format string, args ...any) *Finding {
	return &Finding{model.ReasonInvalidValue, fmt.Sprintf(format, args...)}
}

// Missing returns the finding of a required value that is absent.
func Missing(format string, args ...any) *Finding {
	return &Finding{model.ReasonMissingField, fmt.Sprintf(format, args...)}
}

// WrongType returns the finding of a value that does not fit its field.
func WrongType(format string, args ...any) *Finding {
	return &Finding{model.ReasonWrongType, fmt.Sprintf(format, args...)}
}

// NotYet returns the finding of a part of the API that is not served yet.
func NotYet(format string, args ...any) *Finding {
	return &Finding{model.ReasonNotYetSupported, fmt.Sprintf(format, args...)}
}

// Waiting returns the finding of a part that has an effect in a mesh only.
func Waiting(format string, args ...any) *Finding {
	return &Finding{model.ReasonWaitingForMesh, fmt.Sprintf(format, args...)}
}

// Warn reports what costs nothing. Like the others it reports nothing for nil.
func (r *Reader) Warn(at *Path, f *Finding) { r.add(at, f, model.SeverityWarning) }

// Note reports what is not served and costs nothing around it. Like Fail it
// returns whether there was something to report.
func (r *Reader) Note(at *Path, f *Finding) bool { return r.add(at, f, model.SeverityError) }

// Lose reports a field that was left out.
func (r *Reader) Lose(at *Path, f *Finding) {
	if r.Note(at, f) {
		r.mark(at, fault{count: 1, own: f.Reason})
	}
}

// Fail reports a value that cannot be used.
func (r *Reader) Fail(at *Path, f *Finding) bool {
	if !r.Note(at, f) {
		return false
	}
	r.mark(at, fault{count: 1, own: f.Reason, broken: f.Reason})
	return true
}

func (r *Reader) add(at *Path, f *Finding, severity model.Severity) bool {
	if f == nil {
		return false
	}
	r.problems = append(r.problems, model.Problem{
		Object: r.Meta.Ref, Field: at.String(), Reason: f.Reason, Message: f.Message, Severity: severity,
	})
	return true
}

// mark records a fault at a path and at every path that holds it.
func (r *Reader) mark(at *Path, f fault) {
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

func (r *Reader) fault(p *Path) fault {
	if len(r.faults) == 0 {
		return fault{} // the common case writes out no path
	}
	return r.faults[p.String()]
}

// Count returns the number of faults at or below p.
func (r *Reader) Count(p *Path) int { return r.fault(p).count }

// Any reports whether something at or below p was left out or cannot be used.
func (r *Reader) Any(p *Path) bool { return r.Count(p) > 0 }

// At reports whether the value at exactly p is wrong.
func (r *Reader) At(p *Path) bool { return r.Own(p) != "" }

// Own returns the reason of the first fault at exactly p, "" if there is none.
func (r *Reader) Own(p *Path) model.Reason { return r.fault(p).own }

// Broken returns why something at or below p cannot be used, "" if it can.
func (r *Reader) Broken(p *Path) model.Reason { return r.fault(p).broken }

// Zero reports whether the value at p is written as the zero of its type, which
// the message does not tell from one that is not given.
func (r *Reader) Zero(p *Path) bool { return r.zeros[p.String()] }

// Names reads a list of names: those that cannot be used and repeated ones are
// left out.
func (r *Reader) Names(at *Path, names []string, parse func(string) (string, *Finding)) []string {
	var out []string
	seen := map[string]bool{}
	for i, written := range names {
		p := at.Element(i)
		if r.At(p) {
			continue
		}
		name, wrong := parse(written)
		if r.Fail(p, wrong) {
			continue
		}
		if seen[name] {
			r.Warn(p, Invalid("%s is listed twice; remove one of them", Quote(written)))
			continue
		}
		seen[name] = true
		out = append(out, name)
	}
	return out
}

// Problems returns the problems in the order of their fields, each once.
func (r *Reader) Problems() []model.Problem {
	slices.SortStableFunc(r.problems, model.Problem.Compare)
	return slices.Compact(r.problems)
}

// Quote returns a value of the user as it appears in a message: in quotes, cut
// to a length that people read.
func Quote(s string) string {
	const longest = 80
	if len(s) > longest {
		return fmt.Sprintf("%q", s[:longest]+"…")
	}
	return fmt.Sprintf("%q", s)
}

// Listing returns words as people list them: "a, b or c".
func Listing(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
