package status

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicegw/sluice/model"
)

// clock is a time that only moves when told to.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func ref(name string) model.Ref {
	return model.Ref{Group: "networking.istio.io", Kind: "VirtualService", Namespace: "default", Name: name}
}

func objectNamed(t *testing.T, s Snapshot, name string) ObjectStatus {
	t.Helper()
	for _, o := range s.Objects {
		if o.Name == name {
			return o
		}
	}
	t.Fatalf("no object %s in %v", name, s.Objects)
	return ObjectStatus{}
}

func TestLiveWhenEveryProxyAcked(t *testing.T) {
	c := &clock{t: time.Unix(1000, 0)}
	var lives []Live
	b := NewBoard(c.now, func(l Live) { lives = append(lives, l) }, "p1", "p2")
	b.Publish(Change{Generation: 1, At: c.t, Objects: []Declared{{Ref: ref("a")}}})
	if b.Ready() {
		t.Error("ready before any proxy acknowledged")
	}
	c.t = c.t.Add(3 * time.Millisecond)
	b.Progress(Proxy{Node: "p1", Connected: true, Acked: 1})
	if o := objectNamed(t, b.Snapshot(), "a"); o.Live != 1 || o.Of != 2 || o.Since != nil {
		t.Errorf("live on %d of %d since %v, want 1 of 2 and not since", o.Live, o.Of, o.Since)
	}
	c.t = c.t.Add(2 * time.Millisecond)
	b.Progress(Proxy{Node: "p2", Connected: true, Acked: 1})
	if o := objectNamed(t, b.Snapshot(), "a"); o.Live != 2 || o.TookMS != 5 {
		t.Errorf("live on %d after %v ms, want 2 after 5", o.Live, o.TookMS)
	}
	if len(lives) != 1 || lives[0].Generation != 1 || lives[0].Took != 5*time.Millisecond {
		t.Errorf("announced %v, want generation 1 after 5 ms", lives)
	}
	if !b.Ready() {
		t.Error("not ready although all is live")
	}
}

// What a proxy had that is gone is not live; a proxy that restarts hot stays
// ready, because its process before serves on.
func TestGoneProxyIsNotLive(t *testing.T) {
	b := NewBoard(time.Now, nil, "p")
	b.Publish(Change{Generation: 1, Objects: []Declared{{Ref: ref("a")}}})
	for _, c := range []struct {
		connected bool
		acked     Generation
		live      int
		ready     bool
	}{
		{true, 0, 0, false},
		{true, 1, 1, true},
		{true, 0, 0, true}, // the next epoch has connected
		{true, 1, 1, true},
		{false, 1, 0, false},
		{true, 0, 0, false},
		{true, 1, 1, true},
	} {
		b.Progress(Proxy{Node: "p", Connected: c.connected, Acked: c.acked})
		s := b.Snapshot()
		if o := objectNamed(t, s, "a"); o.Live != c.live || s.Live != Generation(c.live) || b.Ready() != c.ready {
			t.Errorf("%+v: live on %d, generation %d, ready %v", c, o.Live, s.Live, b.Ready())
		}
	}
}

func TestAckBeforePublishCounts(t *testing.T) {
	c := &clock{t: time.Unix(1000, 0)}
	b := NewBoard(c.now, nil, "p")
	b.Publish(Change{Generation: 1, At: c.t})
	b.Progress(Proxy{Node: "p", Connected: true, Acked: 2}) // the proxy was faster than the book-keeping
	b.Publish(Change{Generation: 2, At: c.t, Objects: []Declared{{Ref: ref("a")}}})
	if o := objectNamed(t, b.Snapshot(), "a"); o.Live != 1 || o.Since == nil {
		t.Errorf("live on %d since %v, want 1", o.Live, o.Since)
	}
}

func TestRejectionIsNotLiveAndSaysWhy(t *testing.T) {
	b := NewBoard(time.Now, nil, "p")
	b.Publish(Change{Generation: 1, Objects: []Declared{{Ref: ref("a")}, {Ref: ref("b")}}})
	refused := Rejection{Resource: model.ResourceName{Type: model.TypeRoute, Name: "x"}, Owners: []model.Ref{ref("a")}, Detail: "no such filter", LastGood: true}
	b.Progress(Proxy{Node: "p", Connected: true, Acked: 1, Rejected: []Rejection{refused}})
	s := b.Snapshot()
	if a := objectNamed(t, s, "a"); a.Live != 0 || len(a.Faults) != 1 || a.Faults[0].Reason != model.ReasonRejectedByEnvoy {
		t.Errorf("a: live on %d, problems %v; want 0 and one refusal", a.Live, a.Faults)
	}
	if o := objectNamed(t, s, "b"); o.Live != 1 || len(o.Faults) != 0 {
		t.Errorf("b: live on %d, problems %v; its neighbour's fault is not its own", o.Live, o.Faults)
	}
	b.Progress(Proxy{Node: "p", Connected: true, Acked: 1})
	if a := objectNamed(t, b.Snapshot(), "a"); a.Live != 1 || len(a.Faults) != 0 {
		t.Errorf("a: live on %d, problems %v after the refusal was taken back", a.Live, a.Faults)
	}
}

func TestReportsReplaceAndMerge(t *testing.T) {
	b := NewBoard(time.Now, nil)
	b.Publish(Change{Generation: 1, Objects: []Declared{{Ref: ref("a")}}})
	p := model.Problem{Object: ref("a"), Field: "f", Reason: model.ReasonWrongType, Message: "m"}
	q := model.Problem{Object: ref("a"), Field: "g", Reason: model.ReasonWrongType, Message: "m"}
	file := model.Problem{Object: model.Ref{Kind: "File", Name: "x.yaml"}, Message: "not YAML", Place: model.Place{File: "x.yaml", Line: 3}}
	b.Report(model.Report{By: "one", Problems: []model.Problem{p}}, model.Report{By: "two", Problems: []model.Problem{p, q}}, model.Report{By: "source", Problems: []model.Problem{file}})
	s := b.Snapshot()
	if a := objectNamed(t, s, "a"); len(a.Faults) != 2 {
		t.Errorf("problems %v, want f and g, each once", a.Faults)
	}
	if len(s.Problems) != 1 || s.Problems[0].Line != 3 {
		t.Errorf("problems of files %v, want x.yaml:3", s.Problems)
	}
	b.Report(model.Report{By: "two"}, model.Report{By: "source"})
	s = b.Snapshot()
	if a := objectNamed(t, s, "a"); len(a.Faults) != 1 || len(s.Problems) != 0 {
		t.Errorf("problems %v and %v after two were taken back, want f only", a.Faults, s.Problems)
	}
	if n := b.Counts().WithProblems; n != 1 {
		t.Errorf("%d with problems, want 1", n)
	}
}

func TestRemovedObjectIsGone(t *testing.T) {
	b := NewBoard(time.Now, nil, "p")
	b.Publish(Change{Generation: 1, Objects: []Declared{{Ref: ref("a")}}})
	b.Publish(Change{Generation: 2, Removals: []model.Ref{ref("a")}})
	if s := b.Snapshot(); len(s.Objects) != 0 || s.Generation != 2 {
		t.Errorf("objects %v at generation %d", s.Objects, s.Generation)
	}
}

func TestOnlyTheWorstProblemsAreNamed(t *testing.T) {
	b := NewBoard(time.Now, nil)
	b.Publish(Change{Generation: 1, Objects: []Declared{{Ref: ref("a")}, {Ref: ref("b")}}})
	many := func(object model.Ref, n int) (out []model.Problem) {
		for i := range n {
			p := problem(object, model.ReasonInvalidValue, model.SeverityWarning)
			p.Field = fmt.Sprintf("%03d", i)
			out = append(out, p)
		}
		out[n-1].Severity = model.SeverityError
		return out
	}
	b.Report(model.Report{By: "x", Problems: many(ref("a"), maxProblems+1)}, model.Report{By: "y", Problems: many(ref("b"), maxProblems)},
		model.Report{By: "z", Problems: many(model.Ref{Kind: "File", Name: "f"}, maxProblems+2)}, model.Report{By: "w", Problems: many(ref("a"), maxProblems+1)})
	s := b.Snapshot()
	for name, want := range map[string]int{"a": 1, "b": 0} {
		o := objectNamed(t, s, name)
		if len(o.Faults) != maxProblems || o.MoreProblems != want || o.Faults[maxProblems-1].Severity != model.SeverityError {
			t.Errorf("%s has %d problems, %d more, the last %+v; want %d, %d more and the error", name, len(o.Faults), o.MoreProblems, o.Faults[len(o.Faults)-1], maxProblems, want)
		}
	}
	if len(s.Problems) != maxProblems || s.MoreProblems != 2 {
		t.Errorf("%d problems of files, %d more", len(s.Problems), s.MoreProblems)
	}
}
