package upstream

import (
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
)

// Lingering returns after plus every endpoint of before that it lacks, marked
// as draining: it gets no new requests, and those that it has can finish before
// it is taken out. Any is false if there is none, and merged is then after
// itself. Neither input is changed, and the order of endpoints in before does
// not matter.
//
// Envoy counts endpoints that drain as failed, and would send a part of the
// requests of their priority to the next, or away from their locality. So they
// join what is left of their locality only where there is neither, else a
// priority of their own behind all others.
func Lingering(before, after *endpointv3.ClusterLoadAssignment) (merged *endpointv3.ClusterLoadAssignment, any bool) {
	still := map[string]bool{}
	last, plain := uint32(0), true
	for _, g := range after.GetEndpoints() {
		last = max(last, g.GetPriority())
		plain = plain && g.GetPriority() == 0 && g.GetLoadBalancingWeight() == nil
		for _, e := range g.GetLbEndpoints() {
			still[addressKey(e)] = true
		}
	}
	merged = proto.CloneOf(after)
	if !plain {
		last = min(last+1, lastPriority)
	}
	for _, g := range byPlace(before) {
		for _, e := range g.GetLbEndpoints() {
			if key := addressKey(e); !still[key] {
				still[key], any = true, true
				gone := proto.CloneOf(e)
				gone.HealthStatus = corev3.HealthStatus_DRAINING
				into := groupFor(merged, g, last)
				into.LbEndpoints = append(into.LbEndpoints, gone)
			}
		}
	}
	if !any {
		return after, false
	}
	return merged, true
}

// byPlace returns the groups of an assignment in an order of its own, with
// their endpoints ordered by address.
func byPlace(a *endpointv3.ClusterLoadAssignment) []*endpointv3.LocalityLbEndpoints {
	groups := proto.CloneOf(a).GetEndpoints()
	for _, g := range groups {
		slices.SortFunc(g.LbEndpoints, func(x, y *endpointv3.LbEndpoint) int { return strings.Compare(addressKey(x), addressKey(y)) })
	}
	slices.SortStableFunc(groups, func(x, y *endpointv3.LocalityLbEndpoints) int {
		return compareLocality(localityOf(x), localityOf(y))
	})
	return groups
}

// groupFor returns the group of a's that has g's locality and a priority; it
// makes one if there is none.
func groupFor(a *endpointv3.ClusterLoadAssignment, g *endpointv3.LocalityLbEndpoints, priority uint32) *endpointv3.LocalityLbEndpoints {
	for _, have := range a.GetEndpoints() {
		if have.GetPriority() == priority && localityOf(have) == localityOf(g) {
			return have
		}
	}
	fresh := &endpointv3.LocalityLbEndpoints{Locality: g.GetLocality(), Priority: priority, LoadBalancingWeight: g.GetLoadBalancingWeight()}
	a.Endpoints = append(a.Endpoints, fresh)
	return fresh
}

// addressKey identifies an endpoint: no two have the same address and port.
func addressKey(e *endpointv3.LbEndpoint) string {
	a := e.GetEndpoint().GetAddress()
	if pipe := a.GetPipe(); pipe != nil {
		return unixPrefix + pipe.GetPath()
	}
	return a.GetSocketAddress().GetAddress() + " " + strconv.FormatUint(uint64(a.GetSocketAddress().GetPortValue()), 10)
}
