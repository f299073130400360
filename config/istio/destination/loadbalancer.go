package destination

import (
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// loadBalancer reads how an endpoint is picked. A part with a fault is left out
// on its own.
func (r reader) loadBalancer(at *strict.Path, in *networking.LoadBalancerSettings) *model.LoadBalancer {
	if in == nil || r.At(at) {
		return nil
	}
	out := &model.LoadBalancer{
		Simple:   balancing(in.GetSimple()),
		Hash:     r.hash(at.Field("consistentHash"), in.GetConsistentHash()),
		Locality: r.locality(at.Field("localityLbSetting"), in.GetLocalityLbSetting()),
		Zone:     r.zone(at.Field("zoneAwareLbSetting"), in.GetZoneAwareLbSetting()),
		Warmup:   r.warmup(at, in),
	}
	if in.GetLocalityLbSetting() != nil && in.GetZoneAwareLbSetting() != nil {
		r.Fail(at.Field("zoneAwareLbSetting"), strict.Invalid("localityLbSetting and zoneAwareLbSetting exclude each other and this one is left out; keep one of them"))
		out.Zone = nil
	}
	if r.Broken(at) != "" && *out == (model.LoadBalancer{}) {
		return nil
	}
	return out
}

// balancing returns the algorithm behind a word; LEAST_CONN is what
// LEAST_REQUEST was called before.
func balancing(simple networking.LoadBalancerSettings_SimpleLB) model.Balancing {
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

// warmup reads the newer block or the older duration.
func (r reader) warmup(lb *strict.Path, in *networking.LoadBalancerSettings) *model.Warmup {
	older, newer := lb.Field("warmupDurationSecs"), lb.Field("warmup")
	d := strict.Duration(in.GetWarmupDurationSecs())
	if in.GetWarmup() == nil {
		r.positive(older, d)
		if d == nil || r.Any(older) {
			return nil
		}
		return &model.Warmup{Duration: *d}
	}
	if d != nil {
		r.Fail(older, strict.Invalid("warmup and warmupDurationSecs exclude each other and this one is left out; remove it"))
	}
	return r.warmupBlock(newer, in.GetWarmup())
}

func (r reader) warmupBlock(at *strict.Path, in *networking.WarmupConfiguration) *model.Warmup {
	duration, aggression := at.Field("duration"), at.Field("aggression")
	out := &model.Warmup{
		Duration:       in.GetDuration().AsDuration(),
		MinimumPercent: strict.Float(in.GetMinimumPercent(), 0),
		Aggression:     strict.Float(in.GetAggression(), 0),
	}
	switch {
	case r.At(at) || r.Any(duration):
	case in.GetDuration() == nil:
		r.Fail(duration, strict.Missing("duration is missing and nothing warms up; add it"))
	case out.Duration < time.Millisecond:
		r.Fail(duration, strict.Invalid("%s is too short; write at least 1ms", out.Duration))
	}
	r.percentage(at.Field("minimumPercent"), out.MinimumPercent)
	if in.GetAggression() != nil && out.Aggression < 1 && !r.At(aggression) {
		r.Fail(aggression, strict.Invalid("%v is too small; write 1 or more", out.Aggression))
	}
	if r.Broken(at) != "" || in.GetDuration() == nil {
		return nil
	}
	return out
}
