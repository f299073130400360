package file

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/config/file/document"
	"github.com/sluicegw/sluice/model"
)

// ledger knows which file holds which objects in their last good version, who
// wins where two define one, and what of all this the receiver has not seen
// yet. It touches no disk.
type ledger struct {
	records map[key]*record
	claims  map[model.Ref][]claim // best first
	seen    map[model.Ref]uint64  // the look at which each object came; see [model.Meta]
	look    uint64                // counts the looks
	live    map[model.Ref]uint64  // hashes of what the receiver has
	dirty   map[model.Ref]bool    // may differ from live
	faulty  map[key]*record       // records with problems
	shared  map[model.Ref]bool    // refs with several claims
	leaving map[key]*record       // vanished files whose objects stay for a moment
	// unsettled are the files whose newest version becomes good by itself.
	unsettled map[key]*record
	waits     waits
	unsaved   map[key]bool    // files whose good version changed
	unlisted  []string        // arguments that were not listed since the start
	lost      []model.Problem // of what an earlier run kept, until all are listed
	standing  []model.Problem // that nothing will be kept
	shown     []model.Problem // problems the receiver has
	started   bool            // the receiver has had a first step
	since     time.Time       // when the oldest unsent change was noticed
}

// record is one file (or a folder, for problems only).
type record struct {
	key key
	versions
	recalled bool            // objects are those of an earlier run
	due      time.Time       // when the newest version is good; zero while nothing can be said
	problems []model.Problem // of the version last read
	fault    *model.Problem  // why the newest version could not be read
	hash     uint64          // of the bytes last read
	read     bool            // hash is set
	leaving  bool
}

type claim struct {
	rec   *record
	doc   *document.Object
	aside bool   // see [versions]
	seen  uint64 // the look at which this file came to define it
}

// fading reports whether the object is gone from its file, or with it.
func (c claim) fading() bool { return c.aside || c.rec.leaving }

// compare puts what is on disk before what vanished, then goes by who was there
// first, then by place.
func (c claim) compare(o claim) int {
	if c.fading() != o.fading() {
		if c.fading() {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(c.seen, o.seen), compareOrder(c.doc.Order, o.doc.Order))
}

func compareOrder(a, b model.Order) int {
	return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Index, b.Index))
}

func newLedger(w waits) *ledger {
	return &ledger{
		records: map[key]*record{},
		claims:  map[model.Ref][]claim{},
		seen:    map[model.Ref]uint64{},
		live:    map[model.Ref]uint64{},
		dirty:   map[model.Ref]bool{},
		faulty:  map[key]*record{},
		shared:  map[model.Ref]bool{},
		leaving: map[key]*record{},

		unsettled: map[key]*record{},
		waits:     w,
		unsaved:   map[key]bool{},
	}
}

func (l *ledger) record(k key) *record {
	r := l.records[k]
	if r == nil {
		r = &record{key: k}
		l.records[k] = r
	}
	return r
}

// noticed tells when the change that follows was noticed.
func (l *ledger) noticed(at time.Time) {
	l.look++
	if l.since.IsZero() {
		l.since = at
	}
}

// put takes a new version of a file. Objects that a document without identity
// may hold, or that the file holds in an unusable form, stay as they were.
func (l *ledger) put(in *reading) {
	r := l.record(in.key)
	r.hash, r.read, r.fault, r.problems = in.hash, true, nil, in.content.Problems
	l.stay(r)
	if r.young || !in.content.Broken {
		l.replace(r, r.then(in.content))
	}
	l.touched(r, in)
	if r.recalled && r.young && !r.broken && in.settled() {
		l.mature(r) // it changed while nobody looked, and that is long ago
	}
	r.recalled = false
	l.mark(r)
}

// same says that a file was read and still holds what it held. With touched it
// was written all the same.
func (l *ledger) same(in *reading, touched bool) {
	r := l.record(in.key)
	r.fault = nil
	l.stay(r)
	if touched || r.due.IsZero() {
		l.touched(r, in)
	}
	l.mark(r)
}

// fail says that a file or folder cannot be read; its objects stay.
func (l *ledger) fail(k key, p model.Problem) {
	r := l.record(k)
	r.fault = &p
	l.stay(r)
	l.mark(r)
}

// recover says that a folder can be read again.
func (l *ledger) recover(k key) {
	if r := l.records[k]; r != nil {
		r.fault = nil
		l.mark(r)
	}
}

// leave says that a file is gone. Its objects stay until [ledger.remove], or
// until the file is back.
func (l *ledger) leave(k key) {
	r := l.records[k]
	switch {
	case r == nil || r.leaving:
	case len(r.objects) == 0:
		l.remove(k)
	default:
		r.leaving, l.leaving[k] = true, r
		l.schedule(r, time.Time{})
		l.resort(r)
	}
}

// stayAll keeps what is on its way out of every file below an argument.
func (l *ledger) stayAll(below *root) {
	for k, r := range l.leaving {
		if k.root == below {
			l.stay(r)
		}
	}
	for k, r := range l.unsettled {
		if k.root == below {
			l.schedule(r, time.Time{})
		}
	}
}

// stay ends what leave began.
func (l *ledger) stay(r *record) {
	if r.leaving {
		r.leaving = false
		delete(l.leaving, r.key)
		l.resort(r)
	}
}

// remove forgets a file and its objects.
func (l *ledger) remove(k key) {
	r := l.records[k]
	if r == nil {
		return
	}
	l.replace(r, versions{})
	l.schedule(r, time.Time{})
	delete(l.records, k)
	delete(l.faulty, k)
	delete(l.leaving, k)
}

func (l *ledger) resort(r *record) {
	for i := range r.objects {
		ref := r.objects[i].Ref
		slices.SortFunc(l.claims[ref], claim.compare)
		l.dirty[ref] = true
	}
}

func (l *ledger) mark(r *record) {
	if r.fault != nil || len(r.problems) > 0 {
		l.faulty[r.key] = r
	} else {
		delete(l.faulty, r.key)
	}
}

// replace changes what counts of a file and brings the claims in line.
func (l *ledger) replace(r *record, now versions) {
	touched := map[model.Ref]uint64{} // since when the file defines each
	for i := range r.objects {
		l.drop(r, r.objects[i].Ref, touched)
	}
	l.claim(r, now, touched)
}

// claim gives a file without claims what counts of it. touched are the objects
// that it had claims on, and since when.
func (l *ledger) claim(r *record, now versions, touched map[model.Ref]uint64) {
	r.versions = now
	if !now.young {
		l.unsaved[r.key] = true
	}
	for i := range r.objects {
		ref := r.objects[i].Ref
		if touched[ref] == 0 {
			touched[ref] = l.look
		}
		if l.seen[ref] == 0 {
			l.seen[ref] = l.look
		}
		l.claims[ref] = append(l.claims[ref], claim{rec: r, doc: &r.objects[i], aside: r.aside[ref], seen: touched[ref]})
	}
	for ref := range touched {
		l.dirty[ref] = true
		delete(l.shared, ref)
		switch cs := l.claims[ref]; len(cs) {
		case 0:
			delete(l.claims, ref)
		case 1:
		default:
			slices.SortFunc(cs, claim.compare)
			l.shared[ref] = true
		}
	}
}

// drop takes away the claims of a file on an object, and notes since when it had
// them.
func (l *ledger) drop(r *record, ref model.Ref, since map[model.Ref]uint64) {
	l.claims[ref] = slices.DeleteFunc(l.claims[ref], func(c claim) bool {
		if c.rec == r {
			since[ref] = c.seen
		}
		return c.rec == r
	})
}

// step returns what the receiver has not seen, and whether that is anything.
// The first step is always something.
func (l *ledger) step() (config.Step, bool) {
	st := config.Step{At: l.since, Synced: true, Problems: l.problems()}
	for ref := range l.dirty {
		hash, was := l.live[ref]
		cs := l.claims[ref]
		switch {
		case len(cs) > 0 && (!was || hash != cs[0].doc.Hash):
			o := cs[0].doc.Object
			o.Seen = l.seen[ref]
			st.Upserts = append(st.Upserts, o)
		case len(cs) == 0 && was:
			st.Removals = append(st.Removals, ref)
		default:
			delete(l.dirty, ref)
			if !was {
				delete(l.seen, ref) // nobody has met it
			}
		}
	}
	slices.SortFunc(st.Upserts, func(a, b config.Object) int { return cmp.Or(compareOrder(a.Order, b.Order), a.Ref.Compare(b.Ref)) })
	slices.SortFunc(st.Removals, model.Ref.Compare)
	if l.started && len(l.dirty) == 0 && slices.Equal(st.Problems, l.shown) {
		l.since = time.Time{}
		return config.Step{}, false
	}
	return st, true
}

// sent says that the receiver has taken st, the last result of step.
func (l *ledger) sent(st config.Step) {
	for _, o := range st.Upserts {
		l.live[o.Ref] = o.Hash
	}
	for _, ref := range st.Removals {
		delete(l.live, ref)
		delete(l.seen, ref) // if it comes again, it is new
	}
	clear(l.dirty)
	l.shown, l.started, l.since = st.Problems, true, time.Time{}
}

// problems returns every problem there is, by file and line.
func (l *ledger) problems() []model.Problem {
	out := slices.Concat(l.lost, l.standing)
	for _, r := range l.faulty {
		if r.fault != nil {
			out = append(out, *r.fault)
		}
		out = append(out, r.problems...)
	}
	for ref := range l.shared {
		cs := l.claims[ref]
		for _, c := range cs[1:] {
			if !c.fading() {
				out = append(out, duplicate(cs[0], c))
			}
		}
	}
	slices.SortFunc(out, func(a, b model.Problem) int {
		return cmp.Or(strings.Compare(a.Place.File, b.Place.File), cmp.Compare(a.Place.Line, b.Place.Line), a.Compare(b))
	})
	return out
}

func duplicate(winner, loser claim) model.Problem {
	ref := loser.doc.Ref
	return model.Problem{
		Object:   ref,
		Reason:   model.ReasonDuplicateObject,
		Message:  fmt.Sprintf("%s is already defined at %s:%d, which is used; remove or rename one of the two", ref, winner.rec.key.path(), winner.doc.Line),
		Severity: model.SeverityError,
		Place:    model.Place{File: loser.rec.key.path(), Line: loser.doc.Line},
	}
}

// below returns the keys of the records under a folder argument, the folder's
// own left out, in order.
func (l *ledger) below(r *root) []key {
	var out []key
	for k := range maps.Keys(l.records) {
		if k.root == r && k.rel != "" {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, key.compare)
	return out
}
