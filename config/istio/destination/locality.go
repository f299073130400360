package destination

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// locality reads how endpoints are weighed by place; nil with any fault.
func (r reader) locality(at *strict.Path, in *networking.LocalityLoadBalancerSetting) *model.LocalityBalancing {
	if in == nil || r.At(at) {
		return nil
	}
	out := &model.LocalityBalancing{
		Enabled:          strict.Bool(in.GetEnabled()),
		Distribute:       r.distribute(at.Field("distribute"), in.GetDistribute()),
		FailoverPriority: r.priority(at.Field("failoverPriority"), in.GetFailoverPriority()),
	}
	for i, f := range in.GetFailover() {
		out.Failover = append(out.Failover, r.failover(at.Field("failover").Element(i), f))
	}
	if len(in.GetDistribute()) > 0 && len(in.GetFailover())+len(in.GetFailoverPriority()) > 0 {
		r.Fail(at, strict.Invalid("distribute excludes failover and failoverPriority; keep one of them"))
	}
	if r.Broken(at) != "" {
		return nil
	}
	return out
}

func (r reader) zone(at *strict.Path, in *networking.ZoneAwareLoadBalancerSetting) *model.ZoneAware {
	if in == nil || r.At(at) {
		return nil
	}
	out := &model.ZoneAware{
		Enabled:          strict.Bool(in.GetEnabled()),
		FailoverPriority: r.priority(at.Field("failoverPriority"), in.GetFailoverPriority()),
		MinClusterSize:   strict.Uint32(in.GetMinClusterSize()),
	}
	for i, f := range in.GetFailover() {
		out.Failover = append(out.Failover, r.failover(at.Field("failover").Element(i), f))
	}
	if r.Broken(at) != "" {
		return nil
	}
	return out
}

func (r reader) distribute(at *strict.Path, in []*networking.LocalityLoadBalancerSetting_Distribute) []model.Distribution {
	var out []model.Distribution
	for i, d := range in {
		p := at.Element(i)
		if r.Any(p) {
			continue
		}
		distribution := model.Distribution{From: d.GetFrom()}
		r.Fail(p.Field("from"), checkLocality(d.GetFrom()))
		sum := uint64(0)
		to := p.Field("to")
		for _, place := range strict.SortedKeys(d.GetTo()) {
			percent := d.GetTo()[place]
			r.Fail(to.Entry(place), checkLocality(place))
			if percent == 0 || percent > 100 {
				r.Fail(to.Entry(place), strict.Invalid("%d is no share; write a number from 1 to 100", percent))
			}
			sum += uint64(percent)
			distribution.To = append(distribution.To, model.LocalityShare{Locality: place, Percent: percent})
		}
		if sum != 100 {
			r.Fail(to, strict.Invalid("the shares sum to %d; they must sum to 100", sum))
		}
		out = append(out, distribution)
	}
	return out
}

// localityFailover is a failover of either setting.
type localityFailover interface {
	GetFrom() string
	GetTo() string
}

func (r reader) failover(at *strict.Path, in localityFailover) model.Failover {
	if r.Any(at) {
		return model.Failover{}
	}
	for name, region := range map[string]string{"from": in.GetFrom(), "to": in.GetTo()} {
		if region == "" || strings.ContainsAny(region, "/*") {
			r.Fail(at.Field(name), strict.Invalid("%s is no region; write the name of one, without zone or wildcard", strict.Quote(region)))
		}
	}
	if in.GetFrom() == in.GetTo() && r.Broken(at) == "" {
		r.Fail(at, strict.Invalid("the region %s stands in for itself; write another in to", strict.Quote(in.GetFrom())))
	}
	return model.Failover{From: in.GetFrom(), To: in.GetTo()}
}

// priority reads the labels that endpoints are ordered by.
func (r reader) priority(at *strict.Path, labels []string) []string {
	return r.Names(at, labels, func(label string) (string, *strict.Finding) {
		if key, _, _ := strings.Cut(label, "="); key == "" {
			return "", strict.Invalid("%s names no label; write its key, or key=value", strict.Quote(label))
		}
		return label, nil
	})
}

// checkLocality checks "region/zone/subzone", of which the later parts may be
// absent and the last one a wildcard.
func checkLocality(s string) *strict.Finding {
	parts := strings.Split(s, "/")
	good := len(parts) <= 3
	for i, part := range parts {
		good = good && part != "" && (!strings.Contains(part, "*") || part == "*" && i == len(parts)-1)
	}
	if !good {
		return strict.Invalid(`%s is no locality; write "region/zone/subzone", or %q in place of the last part`, strict.Quote(s), "*")
	}
	return nil
}
