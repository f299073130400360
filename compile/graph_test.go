package compile

import (
	"slices"
	"strings"
	"testing"
)

// toy is a graph of three rules over one input and one index: words are
// counted by letter, and a demand keeps a shout alive for each letter.
type toy struct {
	g       *graph
	words   *input[string, string]
	byFirst *index[byte, string]
	length  *rule[string, int]
	total   *rule[byte, int]
	shout   *rule[byte, string]
	root    *rule[none, none]
}

func newToy() *toy {
	g := newGraph()
	t := &toy{g: g, words: newInput[string, string](g, "word")}
	t.byFirst = newIndex[byte](g, "by first", rankObjectIndex, strings.Compare)
	t.length = newRule(g, "length", rankService, func(rd *reader, k string) int { return len(t.words.read(rd, k)) }, same[int])
	t.total = newRule(g, "total", rankTarget, func(rd *reader, k byte) (n int) {
		for _, w := range t.byFirst.read(rd, k) {
			n += t.length.read(rd, w)
		}
		return n
	}, same[int])
	t.root = newRule(g, "root", rankBinds, func(rd *reader, _ none) none {
		for _, k := range []byte("ab") {
			if t.total.read(rd, k) > 0 {
				t.shout.demand(rd, k)
			}
		}
		return none{}
	}, same[none])
	t.shout = newRule(g, "shout", rankCluster, func(rd *reader, k byte) string {
		return strings.ToUpper(strings.Join(t.byFirst.read(rd, k), " "))
	}, same[string])
	t.root.pin(none{})
	return t
}

func (t *toy) set(key, word string) {
	var before, after []entry[byte, string]
	if t.words.values[key] != "" {
		before = []entry[byte, string]{{key[0], key}}
	}
	if word != "" {
		after = []entry[byte, string]{{key[0], key}}
	}
	t.words.set(key, word)
	t.byFirst.replace(before, after)
}

func (t *toy) settle() map[string]int {
	t.g.ran = map[string]int{}
	t.g.settle()
	return t.g.ran
}

func TestGraphRunsOnlyWhatReadAChange(t *testing.T) {
	y := newToy()
	y.set("a1", "x")
	y.set("a2", "yy")
	y.set("b1", "zzz")
	y.settle()
	if got := y.total.nodes['a'].value; got != 3 {
		t.Fatalf("total of a = %v, want 3", got)
	}
	y.set("b1", "zzzz")
	ran := y.settle()
	want := map[string]int{"word": 1, "length": 1, "total": 1, "root": 1}
	for k := range ran {
		if ran[k] != want[k] {
			t.Errorf("%s ran %d times, want %d", k, ran[k], want[k])
		}
	}
}

func TestGraphStopsWhereNothingChanged(t *testing.T) {
	y := newToy()
	y.set("a1", "x")
	y.settle()
	y.set("a1", "y") // another word of the same length
	ran := y.settle()
	if ran["length"] != 1 || ran["total"] != 0 || ran["root"] != 0 {
		t.Errorf("ran %v, want length once and nothing behind it", ran)
	}
}

func TestGraphDropsWhatNobodyHolds(t *testing.T) {
	y := newToy()
	y.set("a1", "x")
	y.set("b1", "y")
	y.settle()
	if len(y.shout.nodes) != 2 || len(y.length.nodes) != 2 {
		t.Fatalf("%d shouts and %d lengths, want 2 and 2", len(y.shout.nodes), len(y.length.nodes))
	}
	y.set("a1", "")
	y.settle()
	if _, ok := y.shout.nodes['a']; ok {
		t.Error("the shout of a is still there after its last word went")
	}
	if _, ok := y.length.nodes["a1"]; ok {
		t.Error("the length of a removed word is still there")
	}
	if _, ok := y.shout.nodes['b']; !ok {
		t.Error("the shout of b went with that of a")
	}
}

func TestGraphRevivesWithinOnePass(t *testing.T) {
	y := newToy()
	y.set("a1", "x")
	y.settle()
	y.set("a1", "")
	y.set("a2", "z")
	y.settle()
	if got := y.shout.nodes['a'].value; got != "A2" {
		t.Errorf("shout of a = %v, want A2", got)
	}
}

func TestGraphRefusesReadsAgainstTheRanks(t *testing.T) {
	g := newGraph()
	high := newRule(g, "high", rankCluster, func(*reader, none) int { return 1 }, same[int])
	low := newRule(g, "low", rankHost, func(rd *reader, _ none) int { return high.read(rd, none{}) }, same[int])
	low.pin(none{})
	defer func() {
		if recover() == nil {
			t.Error("a read of a higher rank went through")
		}
	}()
	g.settle()
}

func TestNodeSet(t *testing.T) {
	var s nodeSet
	nodes := make([]*node, 3*fewMax)
	for i := range nodes {
		nodes[i] = &node{}
		s.add(nodes[i])
		s.add(nodes[i])
		if s.len() != i+1 {
			t.Fatalf("len %d after %d adds", s.len(), i+1)
		}
	}
	var seen []*node
	s.each(func(n *node) { seen = append(seen, n) })
	if len(seen) != len(nodes) {
		t.Fatalf("each saw %d of %d", len(seen), len(nodes))
	}
	for i, n := range nodes {
		s.remove(n)
		s.remove(n)
		if s.len() != len(nodes)-i-1 {
			t.Fatalf("len %d after %d removals", s.len(), i+1)
		}
		if slices.Contains(s.few, n) {
			t.Fatal("removed node is still there")
		}
	}
}
