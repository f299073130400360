package graph

import "slices"

// Index is a multimap from K to a sorted set of E that rules may read by key:
// the value for a key changes only when an entry of that key comes or goes.
type Index[K comparable, E comparable] struct {
	Rule[K, []E]
	Size    Rule[K, int]
	members map[K]map[E]int // how many sources say so
}

// Entry is one pair of an index.
type Entry[K comparable, E comparable] struct {
	Key K
	Val E
}

// At returns the pair of a key and an element.
func At[K, E comparable](key K, val E) Entry[K, E] { return Entry[K, E]{key, val} }

// NewIndex returns an empty index whose elements are sorted by compare.
func NewIndex[K comparable, E comparable](g *Graph, name string, r Rank, compare func(a, b E) int) *Index[K, E] {
	ix := &Index[K, E]{members: map[K]map[E]int{}}
	ix.Rule = *NewRule(g, name, r, func(_ *Reader, key K) []E {
		all := make([]E, 0, len(ix.members[key]))
		for e := range ix.members[key] {
			all = append(all, e)
		}
		slices.SortFunc(all, compare)
		return all
	}, slices.Equal[[]E])
	ix.Size = *NewRule(g, name+" size", r,
		func(_ *Reader, key K) int { return len(ix.members[key]) },
		func(a, b int) bool { return a == b })
	return ix
}

// Replace takes the entries of one source from before to after.
func (ix *Index[K, E]) Replace(before, after []Entry[K, E]) {
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

func (ix *Index[K, E]) add(e Entry[K, E]) {
	m := ix.members[e.Key]
	if m == nil {
		m = map[E]int{}
		ix.members[e.Key] = m
	}
	m[e.Val]++
	if m[e.Val] == 1 {
		ix.soilKey(e.Key)
	}
}

func (ix *Index[K, E]) remove(e Entry[K, E]) {
	m := ix.members[e.Key]
	m[e.Val]--
	if m[e.Val] > 0 {
		return
	}
	delete(m, e.Val)
	if len(m) == 0 {
		delete(ix.members, e.Key)
	}
	ix.soilKey(e.Key)
}

func (ix *Index[K, E]) soilKey(key K) {
	if n := ix.nodes[key]; n != nil {
		ix.g.soil(n)
	}
	if n := ix.Size.nodes[key]; n != nil {
		ix.g.soil(n)
	}
}
