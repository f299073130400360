package status

import (
	"slices"
	"testing"
	"time"

	"github.com/sluicegw/sluice/model"
)

func everything(model.Ref, model.Place) bool { return true }

func problem(object model.Ref, reason model.Reason, severity model.Severity) model.Problem {
	return model.Problem{Object: object, Reason: reason, Severity: severity, Message: string(reason)}
}

func TestObstacles(t *testing.T) {
	file := model.Ref{Kind: "File", Name: "broken.yaml"}
	broken := problem(file, model.ReasonInvalidSyntax, model.SeverityError)
	broken.Place.File = "broken.yaml"
	refusal := Rejection{Owners: []model.Ref{ref("a")}, LastGood: true}
	busy := Rejection{Owners: []model.Ref{ref("a")}, Bind: true}
	for name, c := range map[string]struct {
		problems []model.Problem
		proxy    Proxy
		change   *Change // after generation 1
		want     []Obstacle
		stays    []bool
	}{
		"live":                      {proxy: Proxy{Connected: true, Acked: 1}},
		"warnings are none":         {problems: []model.Problem{problem(ref("a"), model.ReasonExtension, model.SeverityWarning)}, proxy: Proxy{Connected: true, Acked: 1}},
		"the proxy is behind":       {want: []Obstacle{{Object: ref("a"), Of: 1}}, stays: []bool{false}},
		"the author has to mend it": {problems: []model.Problem{problem(ref("a"), model.ReasonDestinationMissing, model.SeverityError)}, proxy: Proxy{Connected: true, Acked: 1}, want: []Obstacle{{Object: ref("a"), Live: 1, Of: 1, Problem: problem(ref("a"), model.ReasonDestinationMissing, model.SeverityError)}}, stays: []bool{true}},
		"not before the proxy has what is good of it": {problems: []model.Problem{problem(ref("a"), model.ReasonDestinationMissing, model.SeverityError)}, want: []Obstacle{{Object: ref("a"), Of: 1, Problem: problem(ref("a"), model.ReasonDestinationMissing, model.SeverityError)}}, stays: []bool{false}},
		"a certificate is on its way":                 {problems: []model.Problem{problem(ref("a"), model.ReasonCertificatePending, model.SeverityError)}, proxy: Proxy{Connected: true, Acked: 1}, want: []Obstacle{{Object: ref("a"), Live: 1, Of: 1, Problem: problem(ref("a"), model.ReasonCertificatePending, model.SeverityError)}}, stays: []bool{false}},
		"a file":                                      {problems: []model.Problem{broken}, proxy: Proxy{Connected: true, Acked: 1}, want: []Obstacle{{Problem: broken}}, stays: []bool{true}},
		"Envoy refuses":                               {proxy: Proxy{Node: "p", Connected: true, Acked: 1, Rejected: []Rejection{refusal}}, want: []Obstacle{{Object: ref("a"), Of: 1, Problem: refusal.problems("p")[0]}}, stays: []bool{true}},
		"a port is taken, which is tried again":       {proxy: Proxy{Node: "p", Connected: true, Acked: 1, Rejected: []Rejection{busy}}, want: []Obstacle{{Object: ref("a"), Of: 1, Problem: busy.problems("p")[0]}}, stays: []bool{false}},
		"a removal is not taken":                      {change: &Change{Generation: 2, Removals: []model.Ref{ref("a")}}, proxy: Proxy{Connected: true, Acked: 1}, want: []Obstacle{{Node: "p"}}, stays: []bool{false}},
		"what changed since is another question":      {change: &Change{Generation: 3, Objects: []Declared{{Ref: ref("a")}}}, proxy: Proxy{Connected: true, Acked: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBoard(time.Now, nil, "p")
			b.Publish(Change{Generation: 1, Objects: []Declared{{Ref: ref("a")}}})
			b.Report(model.Report{By: "compiler", Problems: c.problems})
			if c.change != nil {
				b.Publish(*c.change)
			}
			c.proxy.Node = "p"
			b.Progress(c.proxy)
			got := b.Obstacles(min(b.latest, 2), everything)
			var stays []bool
			for _, o := range got {
				stays = append(stays, o.Stays())
			}
			if !slices.Equal(got, c.want) || !slices.Equal(stays, c.stays) {
				t.Errorf("obstacles %+v stay %v\nwant %+v %v", got, stays, c.want, c.stays)
			}
			if other := b.Obstacles(min(b.latest, 2), func(model.Ref, model.Place) bool { return false }); len(other) > 0 && other[0].Node == "" {
				t.Errorf("of another folder there is %+v", other)
			}
		})
	}
}

func TestChangedTellsOfEveryChange(t *testing.T) {
	b := NewBoard(time.Now, nil, "p")
	for name, change := range map[string]func(){
		"publish":  func() { b.Publish(Change{Generation: 1}) },
		"report":   func() { b.Report(model.Report{By: "x"}) },
		"progress": func() { b.Progress(Proxy{Node: "p"}) },
	} {
		first, second := b.Changed(), b.Changed()
		change()
		for _, c := range []<-chan struct{}{first, second} {
			select {
			case <-c:
			default:
				t.Errorf("%s: not told", name)
			}
		}
	}
}
