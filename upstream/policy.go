package upstream

import (
	"cmp"
	"fmt"
	"reflect"
	"strconv"

	"github.com/sluicegw/sluice/model"
)

// Effective returns the policy in force for a subset ("" for all endpoints) and
// a port of a host. Rules are the policies for the host in the order in which
// they go, those with a selector first, then by age: the first with a traffic
// policy decides for the host, and the first with the subset for the subset.
//
// The subset's entry for the port goes before the subset's own blocks, those
// before the host's entry for the port, and that before the host's blocks. A
// block that is not given is inherited, but an entry for a port replaces all
// four blocks of what is below it: those that it leaves out are the defaults.
// Ports is empty in the result.
//
// Source: Istio merges rules for one host by appending their subsets and
// keeping the first traffic policy.
func Effective(rules []*model.DestinationPolicy, subset string, port uint32) model.TrafficPolicy {
	var out model.TrafficPolicy
	for _, rule := range rules {
		if rule.Traffic != nil {
			out = overlay(out, rule.Traffic, port)
			break
		}
	}
	if s, ok := Subset(rules, subset); ok && s.Traffic != nil {
		out = overlay(out, s.Traffic, port)
	}
	return out
}

// overlay returns below with what p says for a port put over it.
func overlay(below model.TrafficPolicy, p *model.TrafficPolicy, port uint32) model.TrafficPolicy {
	out := model.TrafficPolicy{
		LoadBalancer:   cmp.Or(p.LoadBalancer, below.LoadBalancer),
		ConnectionPool: cmp.Or(p.ConnectionPool, below.ConnectionPool),
		Outlier:        cmp.Or(p.Outlier, below.Outlier),
		TLS:            cmp.Or(p.TLS, below.TLS),
		Tunnel:         cmp.Or(p.Tunnel, below.Tunnel),
		ProxyProtocol:  cmp.Or(p.ProxyProtocol, below.ProxyProtocol),
		RetryBudget:    cmp.Or(p.RetryBudget, below.RetryBudget),
	}
	for _, entry := range p.Ports {
		if entry.Port == port {
			out.LoadBalancer, out.ConnectionPool, out.Outlier, out.TLS = entry.LoadBalancer, entry.ConnectionPool, entry.Outlier, entry.TLS
			break
		}
	}
	return out
}

// Subset returns the subset of that name from the first rule that has it, and
// whether there is one. No rule has a subset "".
func Subset(rules []*model.DestinationPolicy, name string) (model.Subset, bool) {
	if name == "" {
		return model.Subset{}, false
	}
	for _, rule := range rules {
		for _, s := range rule.Subsets {
			if s.Name == name {
				return s, true
			}
		}
	}
	return model.Subset{}, false
}

// Duplicates returns a problem for every traffic policy and subset in rules, in
// their order, that is ignored because an older one is in force. One that says
// the same is no problem, nor is one for everybody that gives way to one that
// selects this proxy: it is meant for others.
func Duplicates(rules []*model.DestinationPolicy) []model.Problem {
	var problems []model.Problem
	var traffic *model.DestinationPolicy
	type origin struct {
		rule   *model.DestinationPolicy
		subset model.Subset
	}
	subsets := map[string]origin{}
	for _, rule := range rules {
		switch {
		case rule.Traffic == nil:
		case traffic == nil:
			traffic = rule
		case !givesWay(rule, traffic) && !reflect.DeepEqual(traffic.Traffic, rule.Traffic):
			problems = append(problems, ignored(rule, "spec.trafficPolicy", fmt.Sprintf(
				"the traffic policy for host %s is ignored, because %s is older and has one; merge the two or remove this one",
				strconv.Quote(rule.Host), traffic.Ref)))
		}
		for _, s := range rule.Subsets {
			first, taken := subsets[s.Name]
			if !taken {
				subsets[s.Name] = origin{rule, s}
				continue
			}
			if !givesWay(rule, first.rule) && !sameSubset(first.subset, s) {
				problems = append(problems, ignored(rule, s.Field, fmt.Sprintf(
					"subset %s of host %s is ignored, because %s defines it earlier; rename it or remove one of the two",
					strconv.Quote(s.Name), strconv.Quote(rule.Host), first.rule.Ref)))
			}
		}
	}
	return problems
}

// givesWay reports whether a rule is for everybody and the one before it for
// selected proxies.
func givesWay(rule, before *model.DestinationPolicy) bool {
	return rule.WorkloadSelector == nil && before.WorkloadSelector != nil
}

// sameSubset reports whether a and b mean the same, wherever they stand.
func sameSubset(a, b model.Subset) bool {
	a.Field, b.Field = "", ""
	return reflect.DeepEqual(a, b)
}

func ignored(rule *model.DestinationPolicy, field, message string) model.Problem {
	return model.Problem{
		Object:   rule.Ref,
		Field:    field,
		Reason:   model.ReasonIgnoredDuplicate,
		Message:  message,
		Severity: model.SeverityError,
	}
}
