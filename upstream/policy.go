package upstream

import (
	"fmt"
	"reflect"
	"strconv"

	"github.com/sluicegw/sluice/model"
)

// LoadBalancer returns the load balancer of a destination. Rules are the
// policies for its host, oldest first. The first rule with a traffic policy
// decides for the host; the subset's own policy, if it names a load balancer,
// goes before it.
//
// Source: Istio merges rules for one host by appending their subsets and
// keeping the first traffic policy.
func LoadBalancer(rules []*model.DestinationPolicy, subset string) model.Balancing {
	if s, ok := Subset(rules, subset); ok && s.Traffic != nil && s.Traffic.LoadBalancer != nil && s.Traffic.LoadBalancer.Simple != model.BalancingDefault {
		return s.Traffic.LoadBalancer.Simple
	}
	for _, rule := range rules {
		if rule.Traffic != nil && rule.Traffic.LoadBalancer != nil {
			return rule.Traffic.LoadBalancer.Simple
		}
	}
	return model.BalancingDefault
}

// Subset returns the subset of that name from the oldest rule that has it, and
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

// Duplicates returns a problem for every traffic policy and subset in rules,
// oldest first, that is ignored because an older one is in force. One that says
// the same is no problem.
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
		case !reflect.DeepEqual(traffic.Traffic, rule.Traffic):
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
			if !sameSubset(first.subset, s) {
				problems = append(problems, ignored(rule, s.Field, fmt.Sprintf(
					"subset %s of host %s is ignored, because %s defines it earlier; rename it or remove one of the two",
					strconv.Quote(s.Name), strconv.Quote(rule.Host), first.rule.Ref)))
			}
		}
	}
	return problems
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
