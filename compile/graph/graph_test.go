package graph

import (
	"slices"
	"strings"
	"testing"
)

// toy is a graph of three rules over one input and one index: words are
// counted by letter, and a demand keeps a shout alive for each letter.
type toy struct {
	g       *Graph
	words   *Input[string, string]
	byFirst *Index[byte, string]
	length  *Rule[string, int]
	total   *Rule[byte, int]
	shout   *Rule[byte, string]
	root    *Rule[struct{}, struct{}]
}

func newToy() *toy {
	g := New(6, func(any) bool { return false })
	t := &toy{g: g, words: NewInput[string, string](g, "word")}
	t.byFirst = NewIndex[byte](g, "by first", 1, strings.Compare)
	t.length = NewRule(g, "length", 2, func(rd *Reader, k string) int { return len(t.words.Read(rd, k)) }, same[int])
	t.total = NewRule(g, "total", 3, func(rd *Reader, k byte) (n int) {
		for _, w := range t.byFirst.Read(rd, k) {
			n += t.length.Read(rd, w)
		}
		return n
	}, same[int])
	t.root = NewRule(g, "root", 4, func(rd *Reader, _ struct{}) struct{} {
		for _, k := range []byte("ab") {
			if t.total.Read(rd, k) > 0 {
				t.shout.Demand(rd, k)
			}
		}
		return struct{}{}
	}, same[struct{}])
	t.shout = NewRule(g, "shout", 5, func(rd *Reader, k byte) string {
		return strings.ToUpper(strings.Join(t.byFirst.Read(rd, k), " "))
	}, same[string])
	t.root.Pin(struct{}{})
	return t
}

func (t *toy) set(key, word string) {
	var before, after []Entry[byte, string]
	if t.words.values[key] != "" {
		before = []Entry[byte, string]{{key[0], key}}
	}
	if word != "" {
		after = []Entry[byte, string]{{key[0], key}}
	}
	t.words.Set(key, word)
	t.byFirst.Replace(before, after)
}

func (t *toy) settle() map[string]int {
	t.g.ran = map[string]int{}
	t.g.Settle()
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
	g := New(6, func(any) bool { return false })
	high := NewRule(g, "high", 5, func(*Reader, struct{}) int { return 1 }, same[int])
	low := NewRule(g, "low", 4, func(rd *Reader, _ struct{}) int { return high.Read(rd, struct{}{}) }, same[int])
	low.Pin(struct{}{})
	defer func() {
		if recover() == nil {
			t.Error("a read of a higher rank went through")
		}
	}()
	g.Settle()
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

func same[V comparable](a, b V) bool { return a == b }
