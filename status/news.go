package status

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/model"
)

// standing are the problems that there are now, and which of them came and went
// since it was last asked. A problem is the same wherever its line has moved to,
// and however many reporters say it.
type standing struct {
	seed  maphash.Seed
	said  map[uint64]int // how often each is said
	fresh map[uint64]model.Problem
	gone  map[uint64]model.Problem
}

func newStanding() *standing {
	return &standing{
		seed: maphash.MakeSeed(), said: map[uint64]int{},
		fresh: map[uint64]model.Problem{}, gone: map[uint64]model.Problem{},
	}
}

// identity tells problems apart. It stands for them, because there may be very many.
func (s *standing) identity(p model.Problem) uint64 {
	p.Place = model.Place{}
	return maphash.Comparable(s.seed, p)
}

func (s *standing) add(p model.Problem) {
	id := s.identity(p)
	s.said[id]++
	if s.said[id] > 1 {
		return
	}
	if _, stays := s.gone[id]; stays {
		delete(s.gone, id)
		return
	}
	s.fresh[id] = p
}

func (s *standing) take(p model.Problem) {
	id := s.identity(p)
	s.said[id]--
	if s.said[id] > 0 {
		return
	}
	delete(s.said, id)
	if _, untold := s.fresh[id]; untold {
		delete(s.fresh, id)
		return
	}
	s.gone[id] = p
}

// News are problems that came and went, errors first.
type News struct{ Came, Gone []model.Problem }

// News returns what came and what went since the call before. What came and went
// in between is in neither.
func (b *Board) News() News {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := News{Came: sorted(b.standing.fresh), Gone: sorted(b.standing.gone)}
	b.standing.fresh, b.standing.gone = map[uint64]model.Problem{}, map[uint64]model.Problem{}
	return n
}

func sorted(problems map[uint64]model.Problem) []model.Problem {
	out := make([]model.Problem, 0, len(problems))
	for _, p := range problems {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b model.Problem) int {
		return cmp.Or(cmp.Compare(weight(a.Severity), weight(b.Severity)), strings.Compare(a.Place.File, b.Place.File),
			cmp.Compare(a.Place.Line, b.Place.Line), a.Compare(b))
	})
	return out
}

// weight orders severities, the worst first.
func weight(s model.Severity) int {
	return slices.Index([]model.Severity{model.SeverityError, model.SeverityWarning, model.SeverityNote}, s)
}
