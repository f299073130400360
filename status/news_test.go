package status

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sluicegw/sluice/model"
)

// told returns the news as "+a" and "-b".
func told(b *Board) (out []string) {
	n := b.News()
	for _, p := range n.Came {
		out = append(out, "+"+p.Object.Name)
	}
	for _, p := range n.Gone {
		out = append(out, "-"+p.Object.Name)
	}
	return out
}

func TestProblemsAreNewsOnceWhenTheyComeAndOnceWhenTheyGo(t *testing.T) {
	b := NewBoard(time.Now, nil, "p")
	of := func(by string, names ...string) model.Report {
		r := model.Report{By: by}
		for i, n := range names {
			p := problem(ref(n), model.ReasonInvalidValue, model.SeverityError)
			p.Place = model.Place{File: "f.yaml", Line: i + 1} // moves when others come and go
			r.Problems = append(r.Problems, p)
		}
		return r
	}
	for i, step := range []struct {
		reports []model.Report
		want    []string
	}{
		{[]model.Report{of("x", "a", "b")}, []string{"+a", "+b"}},
		{[]model.Report{of("x", "a", "b")}, nil},                        // the next generation
		{[]model.Report{of("x", "c", "a", "b")}, []string{"+c"}},        // lines move
		{[]model.Report{of("x", "b", "c")}, []string{"-a"}},             //
		{[]model.Report{of("y", "b")}, nil},                             // a second reporter says the same
		{[]model.Report{of("x", "c")}, nil},                             // one of them still does
		{[]model.Report{of("y")}, []string{"-b"}},                       //
		{[]model.Report{of("x"), of("y", "c")}, nil},                    // another says it now
		{[]model.Report{of("y", "c", "d"), of("y", "c")}, nil},          // came and went between two looks
		{[]model.Report{of("y"), of("z", "c")}, nil},                    // went and came
		{[]model.Report{of("z", "e", "f")}, []string{"+e", "+f", "-c"}}, //
		{[]model.Report{of("z", "f", "e")}, nil},                        // in another order
		{[]model.Report{of("z", "f", "f")}, []string{"-e"}},             // said twice
		{[]model.Report{of("z")}, []string{"-f"}},
	} {
		b.Report(step.reports...)
		if got := told(b); !slices.Equal(got, step.want) {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	if n := len(b.standing.said); n != 0 {
		t.Errorf("%d problems are kept that nobody says", n)
	}
}

func TestRefusalsOfProxiesAreNewsToo(t *testing.T) {
	b := NewBoard(time.Now, nil, "p")
	refusing := Proxy{Node: "p", Connected: true, Rejected: []Rejection{{Owners: []model.Ref{ref("a")}, Detail: "no"}}}
	for i, want := range []string{"[+a]", "[]"} {
		refusing.Acked = Generation(i + 1)
		b.Progress(refusing)
		if got := fmt.Sprint(told(b)); got != want {
			t.Errorf("generation %d: %s, want %s", i+1, got, want)
		}
	}
	b.Progress(Proxy{Node: "p", Connected: true, Acked: 3})
	if got := fmt.Sprint(told(b)); got != "[-a]" {
		t.Errorf("after the end of it: %s", got)
	}
}
