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

func TestEffective(t *testing.T) {
	robin := &model.LoadBalancer{Simple: model.BalancingRoundRobin}
	random := &model.LoadBalancer{Simple: model.BalancingRandom}
	small, large := &model.ConnectionPool{MaxConnections: 1}, &model.ConnectionPool{MaxConnections: 100}
	eject := &model.OutlierDetection{MaxEjectionPercent: 50}
	encrypted := &model.UpstreamTLS{Mode: model.TLSSimple}
	budget := &model.RetryBudget{Percent: 20}
	host := &model.TrafficPolicy{
		LoadBalancer: robin, ConnectionPool: large, Outlier: eject, ProxyProtocol: 1, RetryBudget: budget,
		Ports: []model.PortPolicy{{Port: 443, TLS: encrypted, ConnectionPool: small}},
	}
	rules := []*model.DestinationPolicy{
		rule("a", nil, model.Subset{Name: "plain"}),
		rule("b", host, model.Subset{Name: "v1", Traffic: &model.TrafficPolicy{LoadBalancer: random}}),
		rule("c", traffic(model.BalancingRandom),
			model.Subset{Name: "v1", Traffic: &model.TrafficPolicy{ConnectionPool: small}},
			model.Subset{Name: "v2", Traffic: &model.TrafficPolicy{
				Outlier: eject, ProxyProtocol: 2,
				Ports: []model.PortPolicy{{Port: 443, LoadBalancer: random}},
			}}),
	}
	of80 := model.TrafficPolicy{LoadBalancer: robin, ConnectionPool: large, Outlier: eject, ProxyProtocol: 1, RetryBudget: budget}
	of443 := model.TrafficPolicy{ConnectionPool: small, TLS: encrypted, ProxyProtocol: 1, RetryBudget: budget}
	with := func(p model.TrafficPolicy, change func(*model.TrafficPolicy)) model.TrafficPolicy {
		change(&p)
		return p
	}
	cases := []struct {
		name   string
		rules  []*model.DestinationPolicy
		subset string
		port   uint32
		want   model.TrafficPolicy
	}{
		{"no rule", nil, "", 80, model.TrafficPolicy{}},
		{"the first traffic policy wins", rules, "", 80, of80},
		{"a port's entry replaces every block", rules, "", 443, of443},
		{"a subset without policy inherits", rules, "plain", 80, of80},
		{"an unknown subset inherits", rules, "v9", 80, of80},
		{"a subset's block goes before the host's", rules, "v1", 80, with(of80, func(p *model.TrafficPolicy) { p.LoadBalancer = random })},
		{"a subset's block goes before the host's port", rules, "v1", 443, with(of443, func(p *model.TrafficPolicy) { p.LoadBalancer = random })},
		{"a subset of a younger rule inherits the oldest policy", rules, "v2", 80, with(of80, func(p *model.TrafficPolicy) { p.ProxyProtocol = 2 })},
		{"a subset's port replaces every block", rules, "v2", 443, model.TrafficPolicy{LoadBalancer: random, ProxyProtocol: 2, RetryBudget: budget}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, upstream.Effective(c.rules, c.subset, c.port)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
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
	selected := rule("s", traffic(model.BalancingRoundRobin), other)
	selected.WorkloadSelector = map[string]string{"app": "edge"}
	if got := upstream.Duplicates([]*model.DestinationPolicy{selected, rules[0]}); len(got) > 0 {
		t.Errorf("a rule for everybody that gives way to one for this proxy is reported: %v", got)
	}
	younger := rule("t", traffic(model.BalancingRandom))
	younger.WorkloadSelector = selected.WorkloadSelector
	if got := upstream.Duplicates([]*model.DestinationPolicy{selected, younger}); len(got) != 1 || got[0].Object != younger.Ref {
		t.Errorf("of two rules for this proxy, reported are %v, want the younger", got)
	}
}
