package file

import (
	"context"
	"fmt"
	"slices"
)

// Look looks at every folder again and returns when the receiver of
// [Source.Run] has taken all that lay there at the time of the call, removals
// included: what is held back for a moment has been decided by then. It returns
// an error when ctx ends first. It may be called from any goroutine.
func (s *Source) Look(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case s.looks <- done:
	case <-ctx.Done():
		return fmt.Errorf("look at the folders: %w", ctx.Err())
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("look at the folders: %w", ctx.Err())
	}
}

// look is one call of [Source.Look].
type look struct {
	rescan  int  // the first that began after the call
	decided bool // it is over, and nothing that it found is held back
	done    chan struct{}
}

// look takes a call. A rescan that is under way may have gone past what changed
// since it began, so the call is answered by the next one.
func (l *loop) look(done chan struct{}) {
	l.looks = append(l.looks, &look{rescan: l.tree.rescans + 1, done: done})
	l.tree.rescan()
}

// answer ends the calls whose last step has been taken, and has the next rescan
// begin that one of the others needs.
func (l *loop) answer() {
	if len(l.looks) == 0 {
		return
	}
	over := l.tree.rescans
	if len(l.tree.later) > 0 {
		over--
	}
	l.looks = slices.DeleteFunc(l.looks, func(q *look) bool {
		q.decided = q.decided || q.rescan <= over && !l.tree.holds()
		if q.decided && !l.ready {
			close(q.done)
			return true
		}
		return false
	})
	if slices.ContainsFunc(l.looks, func(q *look) bool { return q.rescan > l.tree.rescans }) {
		l.tree.rescan()
	}
}

// holds reports whether something is gone from disk whose objects stay for now.
func (t *tree) holds() bool {
	return len(t.ledger.leaving) > 0 || t.ledger.fades()
}

// withheld reports whether a folder or something in it could not be read: what the
// event that asks now is about may have given permission.
func (t *tree) withheld(e *entry) bool {
	fault := func(k key) bool {
		r := t.ledger.faulty[k]
		return r != nil && r.fault != nil
	}
	if len(t.ledger.faulty) == 0 {
		return false // as nearly always
	}
	if fault(e.key) {
		return true
	}
	for name := range e.children {
		if fault(e.key.child(name)) {
			return true
		}
	}
	return false
}
