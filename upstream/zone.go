package upstream

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastrequestv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	roundrobinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

// preferZone keeps requests in the zone of the proxy while an endpoint there is
// healthy, once the destination has enough endpoints in all. Left to itself,
// Envoy gives the own zone no more than its endpoints are worth to all proxies
// together; one proxy that knows of no other is in a zone with all the requests
// there are, and would spread them over every zone as if it had none.
//
// Only a load balancing policy of the extensible kind can say so. It takes the
// place of the one that the cluster names.
func preferZone(c *clusterv3.Cluster, lb *model.LoadBalancer) {
	zone := &commonv3.LocalityLbConfig_ZoneAwareLbConfig{
		ForceLocalZone: &commonv3.LocalityLbConfig_ZoneAwareLbConfig_ForceLocalZone{MinSize: wrapperspb.UInt32(1)},
	}
	if n := lb.Zone.MinClusterSize; n != nil {
		zone.MinClusterSize = wrapperspb.UInt64(uint64(*n))
	}
	near := &commonv3.LocalityLbConfig{
		LocalityConfigSpecifier: &commonv3.LocalityLbConfig_ZoneAwareLbConfig_{ZoneAwareLbConfig: zone},
	}
	var slow *commonv3.SlowStartConfig
	if w := slowStart(lb.Warmup); w != nil {
		slow = &commonv3.SlowStartConfig{
			SlowStartWindow: w.GetSlowStartWindow(), Aggression: w.GetAggression(), MinWeightPercent: w.GetMinWeightPercent(),
		}
	}
	name, policy := "least_request", proto.Message(&leastrequestv3.LeastRequest{LocalityLbConfig: near, SlowStartConfig: slow})
	switch lb.Simple {
	case model.BalancingRoundRobin:
		name, policy = "round_robin", &roundrobinv3.RoundRobin{LocalityLbConfig: near, SlowStartConfig: slow}
	case model.BalancingRandom:
		name, policy = "random", &randomv3.Random{LocalityLbConfig: near}
	}
	c.LoadBalancingPolicy = &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
		TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: "envoy.load_balancing_policies." + name, TypedConfig: pack(policy)},
	}}}
}
