package upstream

import (
	"math/big"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicegw/sluice/model"
)

const (
	// ringSize is how many points the endpoints share on a hash ring, unless
	// the policy says more; Envoy takes no more than largestRing.
	ringSize    = 1024
	largestRing = 8 << 20
	// tableSize is Maglev's; Envoy takes primes up to largestTable.
	tableSize    = 65537
	largestTable = 5000011
)

// balance says how the endpoints of a cluster are chosen between. It knows the
// algorithm, not the key to hash by, which is the route's.
func balance(c *clusterv3.Cluster, p model.TrafficPolicy) {
	c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{
		HealthyPanicThreshold: &typev3.Percent{},
		// Envoy's own second would let an endpoint that was just ejected, or just
		// became healthy, wait for it after every change of endpoints.
		UpdateMergeWindow: &durationpb.Duration{},
	}
	if p.Outlier != nil {
		c.CommonLbConfig.HealthyPanicThreshold.Value = float64(min(p.Outlier.MinHealthPercent, 100))
	}
	lb := p.LoadBalancer
	if lb == nil {
		lb = new(model.LoadBalancer)
	}
	if weighs(lb) {
		c.CommonLbConfig.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
	}
	switch {
	case lb.Hash != nil:
		hash(c, lb.Hash)
	case zoneAware(lb):
		preferZone(c, lb)
	case lb.Simple == model.BalancingRoundRobin:
		c.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		if w := slowStart(lb.Warmup); w != nil {
			c.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: w}}
		}
	case lb.Simple == model.BalancingRandom:
		c.LbPolicy = clusterv3.Cluster_RANDOM
	default:
		c.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		if w := slowStart(lb.Warmup); w != nil {
			c.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: w}}
		}
	}
}

// hash sends equal keys to equal endpoints, by Maglev if the policy asks for
// it, else by a ring. A table size that Envoy would refuse is replaced by the
// default.
func hash(c *clusterv3.Cluster, h *model.ConsistentHash) {
	if !h.Maglev && h.TableSize == 0 {
		size := h.MinimumRingSize
		if size == 0 {
			size = ringSize
		}
		c.LbPolicy = clusterv3.Cluster_RING_HASH
		c.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{
			MinimumRingSize: wrapperspb.UInt64(min(size, largestRing)),
		}}
		return
	}
	size := h.TableSize
	if size > largestTable || !new(big.Int).SetUint64(size).ProbablyPrime(0) {
		size = tableSize
	}
	c.LbPolicy = clusterv3.Cluster_MAGLEV
	c.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(size)}}
}

func slowStart(w *model.Warmup) *clusterv3.Cluster_SlowStartConfig {
	if w == nil || w.Duration <= 0 {
		return nil
	}
	c := &clusterv3.Cluster_SlowStartConfig{SlowStartWindow: durationpb.New(w.Duration)}
	if w.MinimumPercent > 0 {
		c.MinWeightPercent = &typev3.Percent{Value: min(w.MinimumPercent, 100)}
	}
	if w.Aggression > 0 {
		c.Aggression = &corev3.RuntimeDouble{DefaultValue: w.Aggression, RuntimeKey: "sluice.warmup_aggression"}
	}
	return c
}

// weighs reports whether localities get shares of the traffic.
func weighs(lb *model.LoadBalancer) bool {
	l := lb.Locality
	return l != nil && (l.Enabled == nil || *l.Enabled) && len(l.Distribute) > 0
}

// zoneAware reports whether the zone of the proxy is preferred. Shares of
// localities go before it; a hash has no use for it.
func zoneAware(lb *model.LoadBalancer) bool {
	return lb.Zone != nil && (lb.Zone.Enabled == nil || *lb.Zone.Enabled) && !weighs(lb)
}
