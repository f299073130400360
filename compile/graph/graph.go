// Package graph is a small incremental build system.
//
// What goes in: rules, and changes of inputs. What comes out: the results that
// changed. It alone decides what has to run again. It knows nothing of gateways.
//
// A rule is a pure function from a key to a value. It reads inputs, indexes and
// other rules only through a Reader, which records each read. When an input
// changes, the results that read it run again; a result equal to the one before
// stops there. A rule may also demand a result without reading it: the result
// then exists as long as the demand does. A result that nobody reads or demands
// is dropped, and what it alone held with it.
//
// Every rule has a rank. A rule reads only lower ranks and demands only higher
// ones, so one pass over the ranks settles a change, and no cycle is possible
// as long as a demanded result does not read the one that demands it.
package graph

import (
	"fmt"
	"iter"
)

// Rank orders rules, from 0.
type Rank int

// runner is a rule without its types.
type runner interface {
	// run computes the value of n through rd and returns it, and whether it
	// equals the present one.
	run(rd *Reader, n *node) (value any, same bool)
	drop(n *node)
	ruleName() string
	ruleRank() Rank
}

// node is one result: a rule applied to a key.
type node struct {
	rule  runner
	key   any
	value any

	reads    []*node // what the last run read
	demands  []*node // what the last run demanded
	readers  nodeSet // who read this
	demanded int     // how many demand this
	pinned   bool    // a root: lives without readers

	dirty   bool
	gone    bool // dropped
	touched bool // changed in this pass
	emitted any  // value that the last pass reported, for output rules
	stamp   uint64
}

func (n *node) String() string { return fmt.Sprintf("%s(%v)", n.rule.ruleName(), n.key) }

func (n *node) live() bool { return n.pinned || n.demanded > 0 || n.readers.len() > 0 }

// Graph holds all results. It is used by one goroutine.
type Graph struct {
	queue   [][]*node // dirty results, by rank
	stamps  uint64
	idle    []*node // results that lost their last holder in this pass
	touched []*node // output results that ran, appeared or went in this pass
	emits   func(any) bool
	ran     map[string]int
}

// New returns an empty graph for rules of that many ranks. Emits says which
// values leave the graph; see [Graph.Changes].
func New(ranks int, emits func(value any) bool) *Graph {
	return &Graph{queue: make([][]*node, ranks), emits: emits, ran: map[string]int{}}
}

// Ran returns how often each rule ran since the last call.
func (g *Graph) Ran() map[string]int {
	out := g.ran
	g.ran = map[string]int{}
	return out
}

// Change is a result that leaves the graph, before and after; nil is none.
type Change struct {
	Name          string
	Before, After any
}

// Changes returns what changed since the last call.
func (g *Graph) Changes() []Change {
	out := make([]Change, 0, len(g.touched))
	for _, n := range g.touched {
		out = append(out, Change{n.String(), n.emitted, n.value})
		n.touched, n.emitted = false, n.value
	}
	clear(g.touched)
	g.touched = g.touched[:0]
	return out
}

// Reader is the view that one run of a rule has of the graph.
type Reader struct {
	g *Graph
	n *node
}

// read records that the reader's result depends on dep and brings dep up to
// date.
func (rd *Reader) read(dep *node) any {
	if dep.rule.ruleRank() >= rd.n.rule.ruleRank() {
		panic(fmt.Sprintf("graph: %v reads %v of the same or a higher rank", rd.n, dep))
	}
	if dep.dirty {
		rd.g.run(dep)
	}
	rd.n.reads = append(rd.n.reads, dep)
	return dep.value
}

func (rd *Reader) demand(dep *node) {
	if dep.rule.ruleRank() <= rd.n.rule.ruleRank() {
		panic(fmt.Sprintf("graph: %v demands %v of the same or a lower rank", rd.n, dep))
	}
	rd.n.demands = append(rd.n.demands, dep)
}

// soil marks n for the running or next pass.
func (g *Graph) soil(n *node) {
	if n.dirty {
		return
	}
	n.dirty = true
	r := n.rule.ruleRank()
	g.queue[r] = append(g.queue[r], n)
}

// Settle runs everything that is dirty and wanted, lowest rank first, then
// drops what nobody holds any more.
func (g *Graph) Settle() {
	for r := range g.queue {
		for i := 0; i < len(g.queue[r]); i++ {
			n := g.queue[r][i]
			switch {
			case !n.dirty: // a Reader was faster
			case n.live():
				g.run(n)
			default: // it may be read again before the end of the pass
				g.idle = append(g.idle, n)
			}
		}
		clear(g.queue[r])
		g.queue[r] = g.queue[r][:0]
	}
	g.sweep()
}

// run computes n and, if its value changed, soils its readers.
func (g *Graph) run(n *node) {
	n.dirty = false
	oldReads, oldDemands := n.reads, n.demands
	n.reads, n.demands = nil, nil
	g.ran[n.rule.ruleName()]++
	value, same := n.rule.run(&Reader{g: g, n: n}, n)
	g.hold(n, oldReads, oldDemands)
	if same {
		return
	}
	n.value = value
	g.touch(n)
	n.readers.each(g.soil)
}

// touch notes that an output result changed.
func (g *Graph) touch(n *node) {
	if !g.emits(n.value) && n.emitted == nil {
		return
	}
	if !n.touched {
		n.touched = true
		g.touched = append(g.touched, n)
	}
}

// hold replaces what n held before its run by what it read and demanded now.
func (g *Graph) hold(n *node, oldReads, oldDemands []*node) {
	g.stamps++
	reads := n.reads[:0]
	for _, d := range n.reads {
		if d.stamp != g.stamps {
			d.stamp = g.stamps
			d.readers.add(n)
			reads = append(reads, d)
		}
	}
	n.reads = reads
	for _, d := range oldReads {
		if d.stamp != g.stamps {
			d.readers.remove(n)
			g.release(d)
		}
	}
	g.stamps++
	demands := n.demands[:0]
	for _, d := range n.demands {
		if d.stamp != g.stamps {
			d.stamp = g.stamps
			d.demanded++
			demands = append(demands, d)
		}
	}
	n.demands = demands
	for _, d := range oldDemands {
		d.demanded--
		g.release(d)
	}
}

func (g *Graph) release(n *node) {
	if !n.live() {
		g.idle = append(g.idle, n)
	}
}

// sweep drops the results that nobody holds, and what they alone held.
func (g *Graph) sweep() {
	for len(g.idle) > 0 {
		n := g.idle[len(g.idle)-1]
		g.idle = g.idle[:len(g.idle)-1]
		if n.live() || n.gone {
			continue
		}
		n.gone = true
		if n.emitted != nil && !n.touched {
			n.touched = true
			g.touched = append(g.touched, n)
		}
		reads, demands := n.reads, n.demands
		n.reads, n.demands = nil, nil
		n.rule.drop(n)
		n.value = nil
		for _, d := range reads {
			d.readers.remove(n)
			g.release(d)
		}
		for _, d := range demands {
			d.demanded--
			g.release(d)
		}
	}
}

// Rule is a pure function from K to V with its results.
type Rule[K comparable, V any] struct {
	g       *Graph
	name    string
	rank    Rank
	nodes   map[K]*node
	compute func(rd *Reader, key K) V
	equal   func(a, b V) bool
	// Changed, if set, follows every change of a value; gone values are zero.
	Changed func(before, after V)
}

// NewRule returns a rule without results. Compute is pure but for what it reads
// through its reader; equal says when a new result changes nothing.
func NewRule[K comparable, V any](g *Graph, name string, r Rank, compute func(*Reader, K) V, equal func(a, b V) bool) *Rule[K, V] {
	return &Rule[K, V]{g: g, name: name, rank: r, nodes: map[K]*node{}, compute: compute, equal: equal}
}

// at returns the result for key, new and dirty if there is none.
func (r *Rule[K, V]) at(key K) *node {
	n := r.nodes[key]
	if n == nil {
		n = &node{rule: r, key: key, dirty: true}
		r.nodes[key] = n
	}
	return n
}

// Read returns the value for key and records the read.
func (r *Rule[K, V]) Read(rd *Reader, key K) V {
	v, _ := rd.read(r.at(key)).(V)
	return v
}

// Demand makes the result for key exist as long as the demanding one wants it.
func (r *Rule[K, V]) Demand(rd *Reader, key K) {
	n := r.at(key)
	rd.demand(n)
	if n.dirty && !n.live() {
		r.g.queue[r.rank] = append(r.g.queue[r.rank], n)
	}
}

// Pin makes the result for key a root.
func (r *Rule[K, V]) Pin(key K) {
	n := r.at(key)
	if !n.pinned {
		n.pinned = true
		r.g.queue[r.rank] = append(r.g.queue[r.rank], n)
	}
}

// Unpin ends what Pin began.
func (r *Rule[K, V]) Unpin(key K) {
	if n := r.nodes[key]; n != nil {
		n.pinned = false
		r.g.release(n)
	}
}

func (r *Rule[K, V]) run(rd *Reader, n *node) (any, bool) {
	v := r.compute(rd, n.key.(K))
	old, ok := n.value.(V)
	if ok && r.equal(old, v) {
		return v, true
	}
	if r.Changed != nil {
		r.Changed(old, v)
	}
	return v, false
}

func (r *Rule[K, V]) drop(n *node) {
	delete(r.nodes, n.key.(K))
	if r.Changed != nil {
		old, _ := n.value.(V)
		var zero V
		r.Changed(old, zero)
	}
}

func (r *Rule[K, V]) ruleName() string { return r.name }
func (r *Rule[K, V]) ruleRank() Rank   { return r.rank }

// Value returns the present value for key, zero if there is none.
func (r *Rule[K, V]) Value(key K) (v V) {
	if n := r.nodes[key]; n != nil {
		v, _ = n.value.(V)
	}
	return v
}

// All returns the present values, in no order.
func (r *Rule[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for key, n := range r.nodes {
			v, _ := n.value.(V)
			if !yield(key, v) {
				return
			}
		}
	}
}

// Has reports whether there is a result for key.
func (r *Rule[K, V]) Has(key K) bool { return r.nodes[key] != nil }

// Len returns how many results there are.
func (r *Rule[K, V]) Len() int { return len(r.nodes) }

// Input is a rule whose values are set from outside.
type Input[K comparable, V comparable] struct {
	Rule[K, V]
	values map[K]V
}

// NewInput returns an input without values, of rank 0.
func NewInput[K, V comparable](g *Graph, name string) *Input[K, V] {
	in := &Input[K, V]{values: map[K]V{}}
	in.Rule = *NewRule(g, name, 0,
		func(_ *Reader, key K) V { return in.values[key] },
		func(a, b V) bool { return a == b })
	return in
}

// Set changes the value for key; the zero value removes it.
func (in *Input[K, V]) Set(key K, v V) {
	if in.values[key] == v {
		return
	}
	var zero V
	if v == zero {
		delete(in.values, key)
	} else {
		in.values[key] = v
	}
	if n := in.nodes[key]; n != nil {
		in.g.soil(n)
	}
}

// Copy sets the values of other.
func (in *Input[K, V]) Copy(other *Input[K, V]) {
	for key, v := range other.values {
		in.Set(key, v)
	}
}

// Get returns the value that was set for key.
func (in *Input[K, V]) Get(key K) V { return in.values[key] }

// All returns everything that was set, in no order.
func (in *Input[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for key, v := range in.values {
			if !yield(key, v) {
				return
			}
		}
	}
}
