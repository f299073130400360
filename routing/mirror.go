package routing

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

// mirrorPolicies returns where copies of the requests of rule go. A mirror of
// no share is left out, and so, with a problem, is one whose destination does
// not exist or whose share cannot be read: the rule itself works without.
//
// The copy carries the Host header of the request, without the "-shadow" that
// Envoy would append, and is not sampled for tracing. Source: Istio.
func mirrorPolicies(in *HostInput, by model.Ref, rule *model.HTTPRule) ([]*routev3.RouteAction_RequestMirrorPolicy, []model.Problem) {
	var (
		out      []*routev3.RouteAction_RequestMirrorPolicy
		problems []model.Problem
	)
	for i := range rule.Mirrors {
		m := &rule.Mirrors[i]
		if p := checkPercent(by, m.Field+".percentage", m.Percent); p != nil {
			problems = append(problems, *p)
			continue
		}
		t := in.Targets[m.Destination]
		if t.Cluster == "" {
			problems = append(problems, absent(by, mirrorDestination(m.Field), m.Destination, t))
			continue
		}
		share := fraction(m.Percent)
		if share.GetNumerator() == 0 {
			continue
		}
		out = append(out, &routev3.RouteAction_RequestMirrorPolicy{
			Cluster:                       t.Cluster,
			RuntimeFraction:               &corev3.RuntimeFractionalPercent{DefaultValue: share},
			TraceSampled:                  wrapperspb.Bool(false),
			DisableShadowHostSuffixAppend: true,
		})
	}
	return out, problems
}

// mirrorDestination returns where the destination of a mirror is written: the
// older "mirror" is a destination itself, an entry of "mirrors" holds one.
func mirrorDestination(field string) string {
	if strings.HasSuffix(field, ".mirror") {
		return field
	}
	return field + ".destination"
}
