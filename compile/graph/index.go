package graph

import "slices"

// Index is a multimap from K to a sorted set of E that rules may read by key:
// the value for a key changes only when an entry of that key comes or goes.
type Index[K comparable, E comparable] struct {
	Rule[K, []E]
	Size    Rule[K, int]
	members map[K]map[E]int // how many sources say so
	compare func(a, b E) int
	// changed holds the elements that came or went since the value for a key was
	// computed.
	changed map[K][]E
}

// fewChanges is up to how many changes a sorted set is mended and not made anew.
const fewChanges = 64

// Entry is one pair of an index.
type Entry[K comparable, E comparable] struct {
	Key K
	Val E
}

// At returns the pair of a key and an element.
func At[K, E comparable](key K, val E) Entry[K, E] { return Entry[K, E]{key, val} }

// NewIndex returns an empty index whose elements are sorted by compare.
func NewIndex[K comparable, E comparable](g *Graph, name string, r Rank, compare func(a, b E) int) *Index[K, E] {
	ix := &Index[K, E]{members: map[K]map[E]int{}, compare: compare, changed: map[K][]E{}}
	ix.Rule = *NewRule(g, name, r, func(_ *Reader, key K) []E { return ix.sorted(key) }, slices.Equal[[]E])
	ix.Size = *NewRule(g, name+" size", r,
		func(_ *Reader, key K) int { return len(ix.members[key]) },
		func(a, b int) bool { return a == b })
	return ix
}

// sorted returns the elements of key in order: the value before with what changed
// put in or taken out, or all of them sorted.
func (ix *Index[K, E]) sorted(key K) []E {
	changed := ix.changed[key]
	delete(ix.changed, key)
	members := ix.members[key]
	if old := ix.Value(key); len(old) > 0 && len(changed) < fewChanges {
		out := slices.Clone(old)
		for _, e := range changed {
			out = ix.mend(out, e, members[e] > 0)
		}
		return out
	}
	all := make([]E, 0, len(members))
	for e := range members {
		all = append(all, e)
	}
	slices.SortFunc(all, ix.compare)
	return all
}

// mend puts e into a sorted set or takes it out.
func (ix *Index[K, E]) mend(set []E, e E, in bool) []E {
	at, found := slices.BinarySearchFunc(set, e, ix.compare)
	switch {
	case in && !found:
		return slices.Insert(set, at, e)
	case !in && found:
		return slices.Delete(set, at, at+1)
	}
	return set
}

// note keeps that e came to key or went. Nobody needs it before the first value.
func (ix *Index[K, E]) note(key K, e E) {
	if n := ix.nodes[key]; n == nil || n.value == nil {
		return
	}
	if len(ix.changed[key]) < fewChanges {
		ix.changed[key] = append(ix.changed[key], e)
	}
}

// Members returns the elements of key for what is no rule, which does not change them.
func (ix *Index[K, E]) Members(key K) map[E]int { return ix.members[key] }

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
		ix.note(e.Key, e.Val)
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
	ix.note(e.Key, e.Val)
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
