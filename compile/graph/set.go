package graph

// nodeSet is a set of nodes: a slice while it is small, which nearly all are,
// and a map from then on.
type nodeSet struct {
	few  []*node
	many map[*node]struct{}
}

// fewMax is the size up to which a linear search beats a map.
const fewMax = 8

func (s *nodeSet) len() int { return len(s.few) + len(s.many) }

func (s *nodeSet) add(n *node) {
	if s.many != nil {
		s.many[n] = struct{}{}
		return
	}
	for _, m := range s.few {
		if m == n {
			return
		}
	}
	if len(s.few) < fewMax {
		s.few = append(s.few, n)
		return
	}
	s.many = make(map[*node]struct{}, 2*fewMax)
	for _, m := range s.few {
		s.many[m] = struct{}{}
	}
	s.many[n] = struct{}{}
	s.few = nil
}

func (s *nodeSet) remove(n *node) {
	if s.many != nil {
		delete(s.many, n)
		return
	}
	for i, m := range s.few {
		if m == n {
			last := len(s.few) - 1
			s.few[i] = s.few[last]
			s.few[last] = nil
			s.few = s.few[:last]
			return
		}
	}
}

func (s *nodeSet) each(f func(*node)) {
	for _, n := range s.few {
		f(n)
	}
	for n := range s.many {
		f(n)
	}
}
