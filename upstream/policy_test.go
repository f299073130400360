package upstream_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/upstream"
)

func rule(name string, traffic *model.TrafficPolicy, subsets ...model.Subset) *model.DestinationPolicy {
	return &model.DestinationPolicy{
		Meta: model.Meta{Ref: model.Ref{Kind: "DestinationRule", Namespace: "default", Name: name}},
		Host: "a.example.com", Traffic: traffic, Subsets: subsets,
	}
}

func traffic(lb model.Balancing) *model.TrafficPolicy {
	return &model.TrafficPolicy{LoadBalancer: &model.LoadBalancer{Simple: lb}}
}

func TestLoadBalancer(t *testing.T) {
	v1 := model.Subset{Name: "v1", Traffic: traffic(model.BalancingRandom)}
	v2 := model.Subset{Name: "v2"}
	v3 := model.Subset{Name: "v3", Traffic: traffic(model.BalancingDefault)}
	cases := []struct {
		name   string
		rules  []*model.DestinationPolicy
		subset string
		want   model.Balancing
	}{
		{"no rule", nil, "", model.BalancingDefault},
		{"host", []*model.DestinationPolicy{rule("a", traffic(model.BalancingRoundRobin))}, "", model.BalancingRoundRobin},
		{"first traffic policy wins", []*model.DestinationPolicy{
			rule("a", nil, v2), rule("b", traffic(model.BalancingRoundRobin)), rule("c", traffic(model.BalancingRandom)),
		}, "", model.BalancingRoundRobin},
		{"the first wins even if it says nothing of load balancers", []*model.DestinationPolicy{
			rule("a", traffic(model.BalancingDefault)), rule("b", traffic(model.BalancingRandom)),
		}, "", model.BalancingDefault},
		{"subset over host", []*model.DestinationPolicy{rule("a", traffic(model.BalancingRoundRobin), v1)}, "v1", model.BalancingRandom},
		{"subset of a younger rule over host", []*model.DestinationPolicy{
			rule("a", traffic(model.BalancingRoundRobin)), rule("b", nil, v1),
		}, "v1", model.BalancingRandom},
		{"subset without policy inherits", []*model.DestinationPolicy{rule("a", traffic(model.BalancingRoundRobin), v2)}, "v2", model.BalancingRoundRobin},
		{"subset without load balancer inherits", []*model.DestinationPolicy{rule("a", traffic(model.BalancingRoundRobin), v3)}, "v3", model.BalancingRoundRobin},
		{"unknown subset", []*model.DestinationPolicy{rule("a", traffic(model.BalancingRoundRobin), v1)}, "v9", model.BalancingRoundRobin},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := upstream.LoadBalancer(c.rules, c.subset); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestSubset(t *testing.T) {
	older := model.Subset{Name: "v1", Labels: map[string]string{"v": "1"}}
	rules := []*model.DestinationPolicy{
		rule("a", nil, older), rule("b", nil, model.Subset{Name: "v1", Labels: map[string]string{"v": "x"}}, model.Subset{Name: "v2"}),
	}
	if got, ok := upstream.Subset(rules, "v1"); !ok || cmp.Diff(older, got) != "" {
		t.Errorf("v1 is %v, %v; want the older", got, ok)
	}
	if _, ok := upstream.Subset(rules, "v2"); !ok {
		t.Error("v2 of the younger rule is missing")
	}
	for _, name := range []string{"", "v3"} {
		if got, ok := upstream.Subset(rules, name); ok {
			t.Errorf("%q is %v, want none", name, got)
		}
	}
}

func TestDuplicates(t *testing.T) {
	v1 := model.Subset{Field: "spec.subsets[0]", Name: "v1", Labels: map[string]string{"v": "1"}}
	moved := v1
	moved.Field = "spec.subsets[7]"
	other := model.Subset{Field: "spec.subsets[3]", Name: "v1", Labels: map[string]string{"v": "2"}}
	rules := []*model.DestinationPolicy{
		rule("a", traffic(model.BalancingRandom), v1),
		rule("b", traffic(model.BalancingRandom), moved),
		rule("c", traffic(model.BalancingRoundRobin), other),
	}
	want := []model.Problem{
		{
			Object: rules[2].Ref, Field: "spec.trafficPolicy", Reason: model.ReasonIgnoredDuplicate, Severity: model.SeverityError,
			Message: `the traffic policy for host "a.example.com" is ignored, because DestinationRule default/a is older and has one; merge the two or remove this one`,
		},
		{
			Object: rules[2].Ref, Field: "spec.subsets[3]", Reason: model.ReasonIgnoredDuplicate, Severity: model.SeverityError,
			Message: `subset "v1" of host "a.example.com" is ignored, because DestinationRule default/a defines it earlier; rename it or remove one of the two`,
		},
	}
	if diff := cmp.Diff(want, upstream.Duplicates(rules)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := upstream.Duplicates(rules[:2]); len(got) > 0 {
		t.Errorf("rules that say the same are reported: %v", got)
	}
}
