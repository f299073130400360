package routing_test

import (
	"strings"
	"testing"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/routing"
)

// responses returns an input whose rules answer with bodies.
func responses(bodies ...string) routing.HostInput {
	set := &model.RouteSet{Meta: model.Meta{Ref: model.Ref{Kind: "VirtualService", Namespace: "shop", Name: "a"}}}
	for i, body := range bodies {
		set.HTTP = append(set.HTTP, model.HTTPRule{
			Field:   "spec.http[0]",
			Matches: []model.Match{{URI: &model.StringMatch{Value: "/" + string(rune('a'+i))}}},
			Direct:  &model.DirectResponse{Status: 200, Body: []byte(body)},
		})
	}
	return routing.HostInput{Host: "a.example.com", Port: 80, Bindings: []routing.Binding{{Set: set}}}
}

func TestMaxDirectBody(t *testing.T) {
	for _, c := range []struct {
		name   string
		bodies []string
		want   uint32
	}{
		{"no routes", nil, 0},
		{"no body", []string{""}, 0},
		{"the largest counts", []string{"abc", strings.Repeat("x", 5000), "a"}, 5000},
		{"bytes, not characters", []string{"äö"}, 4},
		{"what is no text", []string{"a\xff\xfe"}, 3},
	} {
		vh, problems := routing.VirtualHost(responses(c.bodies...))
		if got := routing.MaxDirectBody(vh); got != c.want || len(problems) > 0 {
			t.Errorf("%s: got %d and %v, want %d", c.name, got, problems, c.want)
		}
	}
}

func TestBodyThatIsNoTextIsKept(t *testing.T) {
	vh, _ := routing.VirtualHost(responses("a\xff"))
	if got := string(vh.Routes[0].GetDirectResponse().GetBody().GetInlineBytes()); got != "a\xff" {
		t.Errorf("the body is sent as %q", got)
	}
}
