package file

import (
	"slices"
	"time"

	"github.com/sluicegw/sluice/config/file/document"
	"github.com/sluicegw/sluice/model"
)

// versions are what counts of a file whose newest version may be half of one:
// what it says is taken at once, what it leaves out stays aside until the file
// has been left alone for the wait of the ledger. Only then is it good, which
// is what a later version that cannot be used falls back to.
type versions struct {
	objects []document.Object // what counts: the newest version, then what is aside
	// young: the newest version is not good yet. Unset, objects is the good one.
	young  bool
	good   []document.Object  // the last good version
	next   []document.Object  // the newest version
	broken bool               // the newest version cannot be used, and next is none
	aside  map[model.Ref]bool // objects that next does not hold
}

func sameObject(a, b document.Object) bool { return a.Ref == b.Ref && a.Hash == b.Hash }

// base returns what the newest version leaves out: the good version, then what
// came since.
func (v versions) base() []document.Object {
	if !v.young {
		return v.objects
	}
	return append(v.good[:len(v.good):len(v.good)], without(v.objects, v.good)...)
}

// then returns what counts with c as the newest version. The first version is
// good, since there is nothing better.
func (v versions) then(c document.Content) versions {
	base := v.base()
	if c.Broken {
		return versions{objects: base, young: v.young, good: v.good, broken: true}
	}
	next := append(c.Objects, kept(base, c)...)
	if len(base) == 0 || slices.EqualFunc(base, next, sameObject) {
		return versions{objects: next}
	}
	rest := without(base, next)
	out := versions{young: true, good: v.good, next: next, aside: make(map[model.Ref]bool, len(rest))}
	if !v.young {
		out.good = v.objects
	}
	for i := range rest {
		out.aside[rest[i].Ref] = true
	}
	out.objects = append(next[:len(next):len(next)], rest...)
	return out
}

// kept returns the objects of base that a document without identity may hold,
// or that the file holds in an unusable form.
func kept(base []document.Object, c document.Content) []document.Object {
	if !c.Nameless && len(c.Unusable) == 0 {
		return nil
	}
	var out []document.Object
	for _, d := range without(base, c.Objects) {
		if c.Nameless || c.Unusable[d.Ref] {
			out = append(out, d)
		}
	}
	return out
}

// without returns the objects of base that other does not hold.
func without(base, other []document.Object) (out []document.Object) {
	present := make(map[model.Ref]bool, len(other))
	for i := range other {
		present[other[i].Ref] = true
	}
	for i := range base {
		if !present[base[i].Ref] {
			out = append(out, base[i])
		}
	}
	return out
}

// touched says when a file was last seen to change. Its version is good once it
// has been still from then on; one that was renamed into its place has nothing
// more to come, and waits no longer than a vanished file.
func (l *ledger) touched(r *record, in *reading) {
	switch {
	case !r.young || r.broken:
		l.schedule(r, time.Time{})
	case in.whole:
		l.schedule(r, in.at.Add(l.waits.whole))
	default:
		l.schedule(r, in.at.Add(l.waits.still))
	}
}

// waits are how long files must be still before they are good.
type waits struct {
	whole time.Duration // that came into their place with all they hold
	still time.Duration // that are written where they are
}

// schedule sets when a record is good; the zero time is never.
func (l *ledger) schedule(r *record, due time.Time) {
	r.due = due
	if due.IsZero() {
		delete(l.unsettled, r.key)
	} else {
		l.unsettled[r.key] = r
	}
}

// settle makes good what has been still until now.
func (l *ledger) settle(now time.Time) {
	for _, r := range l.unsettled {
		if r.fault == nil && !now.Before(r.due) {
			l.mature(r)
		}
	}
}

func (l *ledger) mature(r *record) {
	l.schedule(r, time.Time{})
	next := versions{objects: r.next}
	if len(r.aside) == 0 {
		r.versions = next // the same objects, and where they are
		l.unsaved[r.key] = true
		return
	}
	l.replace(r, next)
}

// wakes returns when the first file is due; zero when none is.
func (l *ledger) wakes() (first time.Time) {
	for _, r := range l.unsettled {
		if first.IsZero() || r.due.Before(first) {
			first = r.due
		}
	}
	return first
}

// fades reports whether objects are aside that go unless their file changes.
func (l *ledger) fades() bool {
	for _, r := range l.unsettled {
		if len(r.aside) > 0 {
			return true
		}
	}
	return false
}
