package compile

import "fmt"

// This file is the engine: a small incremental build system. It knows nothing
// of gateways. Read it before rules.go.
//
// A rule is a pure function from a key to a value. It reads inputs, indexes and
// other rules only through a reader, which records each read. When an input
// changes, the results that read it run again; a result equal to the one before
// stops there. A rule may also demand a result without reading it: the result
// then exists as long as the demand does. A result that nobody reads or demands
// is dropped, and what it alone held with it.
//
// Every rule has a rank. A rule reads only lower ranks and demands only higher
// ones, so one pass over the ranks settles a change, and no cycle is possible
// as long as a demanded result does not read the one that demands it.

// rank orders rules; see the constants in rules.go.
type rank int

// runner is a rule without its types.
type runner interface {
	// run computes the value of n through rd and returns it, and whether it
	// equals the present one.
	run(rd *reader, n *node) (value any, same bool)
	drop(n *node)
	ruleName() string
	ruleRank() rank
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

// graph holds all results. It is used by one goroutine.
type graph struct {
	queue   [ranks][]*node // dirty results, by rank
	stamps  uint64
	idle    []*node // results that lost their last holder in this pass
	touched []*node // output results that ran, appeared or went in this pass
	ran     map[string]int
}

func newGraph() *graph { return &graph{ran: map[string]int{}} }

// reader is the view that one run of a rule has of the graph.
type reader struct {
	g *graph
	n *node
}

// read records that the reader's result depends on dep and brings dep up to
// date.
func (rd *reader) read(dep *node) any {
	if dep.rule.ruleRank() >= rd.n.rule.ruleRank() {
		panic(fmt.Sprintf("compile: %v reads %v of the same or a higher rank", rd.n, dep))
	}
	if dep.dirty {
		rd.g.run(dep)
	}
	rd.n.reads = append(rd.n.reads, dep)
	return dep.value
}

func (rd *reader) demand(dep *node) {
	if dep.rule.ruleRank() <= rd.n.rule.ruleRank() {
		panic(fmt.Sprintf("compile: %v demands %v of the same or a lower rank", rd.n, dep))
	}
	rd.n.demands = append(rd.n.demands, dep)
}

// soil marks n for the running or next pass.
func (g *graph) soil(n *node) {
	if n.dirty {
		return
	}
	n.dirty = true
	r := n.rule.ruleRank()
	g.queue[r] = append(g.queue[r], n)
}

// settle runs everything that is dirty and wanted, lowest rank first, then
// drops what nobody holds any more.
func (g *graph) settle() {
	for r := range g.queue {
		for i := 0; i < len(g.queue[r]); i++ {
			n := g.queue[r][i]
			switch {
			case !n.dirty: // a reader was faster
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
func (g *graph) run(n *node) {
	n.dirty = false
	oldReads, oldDemands := n.reads, n.demands
	n.reads, n.demands = nil, nil
	g.ran[n.rule.ruleName()]++
	value, same := n.rule.run(&reader{g: g, n: n}, n)
	g.hold(n, oldReads, oldDemands)
	if same {
		return
	}
	n.value = value
	g.touch(n)
	n.readers.each(g.soil)
}

// touch notes that an output result changed.
func (g *graph) touch(n *node) {
	if _, ok := n.value.(output); !ok && n.emitted == nil {
		return
	}
	if !n.touched {
		n.touched = true
		g.touched = append(g.touched, n)
	}
}

// hold replaces what n held before its run by what it read and demanded now.
func (g *graph) hold(n *node, oldReads, oldDemands []*node) {
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

func (g *graph) release(n *node) {
	if !n.live() {
		g.idle = append(g.idle, n)
	}
}

// sweep drops the results that nobody holds, and what they alone held.
func (g *graph) sweep() {
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

// rule is a pure function from K to V with its results.
type rule[K comparable, V any] struct {
	g       *graph
	name    string
	rank    rank
	nodes   map[K]*node
	compute func(rd *reader, key K) V
	equal   func(a, b V) bool
	// changed, if set, follows every change of a value; gone values are zero.
	changed func(before, after V)
}

func newRule[K comparable, V any](g *graph, name string, r rank, compute func(*reader, K) V, equal func(a, b V) bool) *rule[K, V] {
	return &rule[K, V]{g: g, name: name, rank: r, nodes: map[K]*node{}, compute: compute, equal: equal}
}

// at returns the result for key, new and dirty if there is none.
func (r *rule[K, V]) at(key K) *node {
	n := r.nodes[key]
	if n == nil {
		n = &node{rule: r, key: key, dirty: true}
		r.nodes[key] = n
	}
	return n
}

// read returns the value for key and records the read.
func (r *rule[K, V]) read(rd *reader, key K) V {
	v, _ := rd.read(r.at(key)).(V)
	return v
}

// demand makes the result for key exist as long as the demanding one wants it.
func (r *rule[K, V]) demand(rd *reader, key K) {
	n := r.at(key)
	rd.demand(n)
	if n.dirty && !n.live() {
		r.g.queue[r.rank] = append(r.g.queue[r.rank], n)
	}
}

// pin makes the result for key a root.
func (r *rule[K, V]) pin(key K) {
	n := r.at(key)
	if !n.pinned {
		n.pinned = true
		r.g.queue[r.rank] = append(r.g.queue[r.rank], n)
	}
}

// unpin ends what pin began.
func (r *rule[K, V]) unpin(key K) {
	if n := r.nodes[key]; n != nil {
		n.pinned = false
		r.g.release(n)
	}
}

func (r *rule[K, V]) run(rd *reader, n *node) (any, bool) {
	v := r.compute(rd, n.key.(K))
	old, ok := n.value.(V)
	if ok && r.equal(old, v) {
		return v, true
	}
	if r.changed != nil {
		r.changed(old, v)
	}
	return v, false
}

func (r *rule[K, V]) drop(n *node) {
	delete(r.nodes, n.key.(K))
	if r.changed != nil {
		old, _ := n.value.(V)
		var zero V
		r.changed(old, zero)
	}
}

func (r *rule[K, V]) ruleName() string { return r.name }
func (r *rule[K, V]) ruleRank() rank   { return r.rank }

// input is a rule whose values are set from outside.
type input[K comparable, V comparable] struct {
	rule[K, V]
	values map[K]V
}

func newInput[K, V comparable](g *graph, name string) *input[K, V] {
	in := &input[K, V]{values: map[K]V{}}
	in.rule = *newRule(g, name, rankInput,
		func(_ *reader, key K) V { return in.values[key] },
		func(a, b V) bool { return a == b })
	return in
}

// set changes the value for key; the zero value removes it.
func (in *input[K, V]) set(key K, v V) {
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

// copy sets the values of other.
func (in *input[K, V]) copy(other *input[K, V]) {
	for key, v := range other.values {
		in.set(key, v)
	}
}
