package compile

import "slices"

// index is a multimap from K to a sorted set of E that rules may read by key:
// the value for a key changes only when an entry of that key comes or goes.
type index[K comparable, E comparable] struct {
	rule[K, []E]
	size    rule[K, int]
	members map[K]map[E]int // how many sources say so
}

// entry is one pair of an index.
type entry[K comparable, E comparable] struct {
	key K
	val E
}

func newIndex[K comparable, E comparable](g *graph, name string, r rank, compare func(a, b E) int) *index[K, E] {
	ix := &index[K, E]{members: map[K]map[E]int{}}
	ix.rule = *newRule(g, name, r, func(_ *reader, key K) []E {
		all := make([]E, 0, len(ix.members[key]))
		for e := range ix.members[key] {
			all = append(all, e)
		}
		slices.SortFunc(all, compare)
		return all
	}, slices.Equal[[]E])
	ix.size = *newRule(g, name+" size", r,
		func(_ *reader, key K) int { return len(ix.members[key]) },
		func(a, b int) bool { return a == b })
	return ix
}

// replace takes the entries of one source from before to after.
func (ix *index[K, E]) replace(before, after []entry[K, E]) {
	if slices.Equal(before, after) {
		return
	}
	for _, e := range after {
		ix.add(e)
	}
	for _, e := range before {
		ix.remove(e)
	}
}

func (ix *index[K, E]) add(e entry[K, E]) {
	m := ix.members[e.key]
	if m == nil {
		m = map[E]int{}
		ix.members[e.key] = m
	}
	m[e.val]++
	if m[e.val] == 1 {
		ix.soilKey(e.key)
	}
}

func (ix *index[K, E]) remove(e entry[K, E]) {
	m := ix.members[e.key]
	m[e.val]--
	if m[e.val] > 0 {
		return
	}
	delete(m, e.val)
	if len(m) == 0 {
		delete(ix.members, e.key)
	}
	ix.soilKey(e.key)
}

func (ix *index[K, E]) soilKey(key K) {
	if n := ix.nodes[key]; n != nil {
		ix.g.soil(n)
	}
	if n := ix.size.nodes[key]; n != nil {
		ix.g.soil(n)
	}
}
