package upstream

import (
	"cmp"
	"math"
	"slices"
	"strings"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

const (
	// The labels that stand for a locality.
	labelRegion  = "topology.kubernetes.io/region"
	labelZone    = "topology.kubernetes.io/zone"
	labelSubZone = "topology.istio.io/subzone"
	// lastPriority is the highest number that Envoy takes.
	lastPriority = 127
	// wholeShare is the weight of 100 percent: enough to divide among many
	// localities without rounding any to nothing.
	wholeShare = 100 * shareUnit
	shareUnit  = 100_000
)

// prioritize says which places are tried first.
//
//   - By labels: the more leading labels of the list a place shares with the
//     proxy, the earlier.
//   - By locality: same sub-zone, same zone, same region, then the region that
//     is named as stand-in, then all others. A zone-aware load balancer mixes
//     the zones of a region itself, so that only regions have an order. After
//     labels, locality decides among places that they do not tell apart.
//
// Locality balancing changes nothing unless endpoints can be found to fail
// (outlier detection), because Envoy would never leave the first priority; a
// zone-aware load balancer always keeps to its region.
//
// Source: Istio's localityLbSetting and zoneAwareLbSetting; where the proxy runs
// must be known.
func prioritize(places []place, in EndpointsInput) {
	lb := in.Policy.LoadBalancer
	if lb == nil {
		return
	}
	l := lb.Locality
	switch {
	case l != nil && (in.Policy.Outlier == nil || l.Enabled != nil && !*l.Enabled || len(l.Distribute) > 0):
		return
	case l != nil:
		byLabels(places, in, l.FailoverPriority)
		if len(l.FailoverPriority) == 0 || len(l.Failover) > 0 {
			byLocality(places, in.Proxy, l.Failover, false)
		}
	case zoneAware(lb):
		byLabels(places, in, lb.Zone.FailoverPriority)
		byLocality(places, in.Proxy, lb.Zone.Failover, true)
	default:
		return
	}
	compact(places)
}

// byLocality orders places that share a priority by where they are.
func byLocality(places []place, proxy model.Locality, failover []model.Failover, mixZones bool) {
	const ranks = 5
	if proxy.Region == "" {
		return
	}
	standIn := ""
	for _, f := range failover {
		if f.From == proxy.Region {
			standIn = f.To
			break
		}
	}
	for i := range places {
		l, rank := places[i].locality, uint32(ranks-1)
		switch {
		case l.Region == proxy.Region && (mixZones || l == proxy):
			rank = 0
		case l.Region == proxy.Region && l.Zone == proxy.Zone:
			rank = 1
		case l.Region == proxy.Region:
			rank = 2
		case standIn == "" || l.Region == standIn:
			rank = 3
		}
		places[i].priority = places[i].priority*ranks + rank
	}
}

// byLabels orders by labels, written "key", for the proxy's own value, or
// "key=value".
func byLabels(places []place, in EndpointsInput, labels []string) {
	for i := range places {
		shared := 0
		for _, label := range labels {
			key, want, given := strings.Cut(label, "=")
			if !given {
				want = labelOf(in.ProxyLabels, in.Proxy, key)
			}
			if labelOf(places[i].labels, places[i].locality, key) != want {
				break
			}
			shared++
		}
		places[i].priority = uint32(len(labels) - shared)
	}
}

// labelOf returns a label, or the part of the locality that it stands for.
func labelOf(labels map[string]string, l model.Locality, key string) string {
	if value, ok := labels[key]; ok {
		return value
	}
	switch key {
	case labelRegion:
		return l.Region
	case labelZone:
		return l.Zone
	case labelSubZone:
		return l.SubZone
	}
	return ""
}

// compact renumbers priorities from 0 without gaps, as Envoy demands.
func compact(places []place) {
	var used []uint32
	for _, p := range places {
		used = append(used, p.priority)
	}
	slices.Sort(used)
	used = slices.Compact(used)
	for i := range places {
		n, _ := slices.BinarySearch(used, places[i].priority)
		places[i].priority = uint32(min(n, lastPriority))
	}
}

// distribute gives localities their share of the traffic from where the proxy
// runs: the first rule for it decides, and localities that it does not name get
// nothing. A locality that several patterns cover counts for the most exact
// one; the localities of one pattern share by the weight of their endpoints.
// Without a rule for the proxy every locality weighs what its endpoints do.
//
// Source: Istio's localityLbSetting.distribute.
func distribute(groups []*endpointv3.LocalityLbEndpoints, proxy model.Locality, rules []model.Distribution) []*endpointv3.LocalityLbEndpoints {
	rule := slices.IndexFunc(rules, func(d model.Distribution) bool { return covers(d.From, proxy) })
	if rule < 0 {
		heaviest := uint64(math.MaxUint32 / max(len(groups), 1))
		for _, g := range groups {
			g.LoadBalancingWeight = wrapperspb.UInt32(uint32(min(totalWeight(g), heaviest)))
		}
		return groups
	}
	shares := slices.SortedStableFunc(slices.Values(rules[rule].To), func(a, b model.LocalityShare) int {
		return cmp.Or(-cmp.Compare(exactness(a.Locality), exactness(b.Locality)), strings.Compare(a.Locality, b.Locality))
	})
	taken := make([]int, len(groups))
	totals := make([]uint64, len(shares))
	for i, g := range groups {
		taken[i] = slices.IndexFunc(shares, func(s model.LocalityShare) bool { return covers(s.Locality, localityOf(g)) })
		if taken[i] >= 0 {
			totals[taken[i]] += totalWeight(g)
		}
	}
	var kept []*endpointv3.LocalityLbEndpoints
	for i, g := range groups {
		if taken[i] < 0 || shares[taken[i]].Percent == 0 {
			continue
		}
		part := float64(min(shares[taken[i]].Percent, 100)) * shareUnit * float64(totalWeight(g)) / float64(totals[taken[i]])
		g.LoadBalancingWeight = wrapperspb.UInt32(uint32(min(max(math.Round(part), 1), wholeShare)))
		kept = append(kept, g)
	}
	return kept
}

func localityOf(g *endpointv3.LocalityLbEndpoints) model.Locality {
	l := g.GetLocality()
	return model.Locality{Region: l.GetRegion(), Zone: l.GetZone(), SubZone: l.GetSubZone()}
}

func totalWeight(g *endpointv3.LocalityLbEndpoints) uint64 {
	sum := uint64(0)
	for _, e := range g.GetLbEndpoints() {
		sum += uint64(max(e.GetLoadBalancingWeight().GetValue(), 1))
	}
	return sum
}

// covers reports whether a pattern "region/zone/subzone" takes a locality; "*"
// and parts that are left out take any.
func covers(pattern string, l model.Locality) bool {
	have := []string{l.Region, l.Zone, l.SubZone}
	for i, part := range strings.SplitN(pattern, "/", len(have)) {
		if part != "*" && part != have[i] {
			return false
		}
	}
	return true
}

// exactness counts the parts of a pattern that are not "*".
func exactness(pattern string) int {
	n := 0
	for part := range strings.SplitSeq(pattern, "/") {
		if part != "*" {
			n++
		}
	}
	return n
}
