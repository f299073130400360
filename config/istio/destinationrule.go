package istio

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/model"
)

// destinationPolicy gives a DestinationRule its meaning; nil without a usable
// host, and for a rule that is meant for some clients only.
func (r *reader) destinationPolicy(in *networking.DestinationRule) model.Value {
	spec := root("spec")
	p := &model.DestinationPolicy{Meta: r.meta}
	host := spec.field("host")
	if !r.at(host) {
		name, wrong := parseName(in.GetHost(), nameForm{wildcard: true, ip: true})
		r.fail(host, wrong)
		p.Host = qualify(name, r.meta.Ref.Namespace)
	}
	r.exportTo(spec.field("exportTo"), in.GetExportTo())
	p.Traffic = traffic(in.GetTrafficPolicy())
	p.Subsets = r.subsets(spec.field("subsets"), in.GetSubsets())
	if r.broken(host) != "" || r.any(spec.field("workloadSelector")) {
		return nil
	}
	return p
}

// subsets leaves out subsets that would hold other endpoints than was meant:
// those with a fault outside their traffic policy.
func (r *reader) subsets(at *path, in []*networking.Subset) []model.Subset {
	var out []model.Subset
	seen := map[string]bool{}
	for i, s := range in {
		p := at.element(i)
		if r.at(p) {
			continue
		}
		name := p.field("name")
		if !r.at(name) {
			r.fail(name, checkSubsetName(s.GetName()))
		}
		if seen[s.GetName()] && s.GetName() != "" {
			r.fail(name, invalid("another subset has the name %s and this one is left out; choose another", quote(s.GetName())))
		}
		if r.count(p) > r.count(p.field("trafficPolicy")) {
			continue
		}
		seen[s.GetName()] = true
		out = append(out, model.Subset{Field: p.String(), Name: s.GetName(), Labels: s.GetLabels(), Traffic: traffic(s.GetTrafficPolicy())})
	}
	return out
}

// traffic reads a traffic policy; nil when it says nothing that is served.
func traffic(in *networking.TrafficPolicy) *model.TrafficPolicy {
	if in.GetLoadBalancer() == nil {
		return nil
	}
	return &model.TrafficPolicy{LoadBalancer: &model.LoadBalancer{Simple: loadBalancer(in.GetLoadBalancer().GetSimple())}}
}

// loadBalancer returns the algorithm behind a word; LEAST_CONN is what
// LEAST_REQUEST was called before.
func loadBalancer(simple networking.LoadBalancerSettings_SimpleLB) model.Balancing {
	switch simple {
	case networking.LoadBalancerSettings_LEAST_CONN, networking.LoadBalancerSettings_LEAST_REQUEST:
		return model.BalancingLeastRequest
	case networking.LoadBalancerSettings_RANDOM:
		return model.BalancingRandom
	case networking.LoadBalancerSettings_ROUND_ROBIN:
		return model.BalancingRoundRobin
	case networking.LoadBalancerSettings_PASSTHROUGH:
		return model.BalancingPassthrough
	}
	return model.BalancingDefault
}

// checkSubsetName checks the name of a subset, which becomes part of names in
// Envoy.
func checkSubsetName(name string) *finding {
	if name == "" {
		return missing("the subset has no name; give it one")
	}
	if !isLabel(strings.ToLower(name)) {
		return invalid("%s is no name of a subset; use up to 63 letters, digits and inner hyphens", quote(name))
	}
	return nil
}
