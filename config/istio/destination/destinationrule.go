// Package destination gives Istio's DestinationRule its meaning.
//
// What goes in: the message that the first pass filled, and its
// [strict.Reader]. What comes out: a [model.DestinationPolicy], and problems in
// the reader. It alone decides what the fields of a DestinationRule mean. A
// block with a fault is left out, except tls: a destination whose tls block has
// a fault is not spoken to at all, rather than in plain text or unverified.
package destination

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// reader gives the parts of a DestinationRule their meaning.
type reader struct{ *strict.Reader }

// Read gives a DestinationRule its meaning; nil without a usable host, and with
// a fault in the selector, without which it would be for other proxies too.
func Read(from *strict.Reader, in *networking.DestinationRule) model.Value {
	r := reader{from}
	spec := strict.Root("spec")
	p := &model.DestinationPolicy{Meta: r.Meta}
	host := spec.Field("host")
	if !r.At(host) {
		name, wrong := check.ParseName(in.GetHost(), check.Form{Wildcard: true, IP: true})
		r.Fail(host, wrong)
		p.Host = check.Qualify(name, r.Meta.Ref.Namespace)
	}
	p.ExportTo = check.ExportTo(r.Reader, spec.Field("exportTo"), in.GetExportTo())
	p.Traffic = r.traffic(spec.Field("trafficPolicy"), in.GetTrafficPolicy())
	p.Subsets = r.subsets(spec.Field("subsets"), in.GetSubsets())
	if selector := in.GetWorkloadSelector(); selector != nil {
		p.WorkloadSelector = map[string]string{}
		for key, value := range selector.GetMatchLabels() {
			p.WorkloadSelector[key] = value
		}
	}
	if r.Broken(host) != "" || r.Any(spec.Field("workloadSelector")) {
		return nil
	}
	return p
}

// subsets leaves out subsets that would hold other endpoints than was meant:
// those with a fault outside their traffic policy.
func (r reader) subsets(at *strict.Path, in []*networking.Subset) []model.Subset {
	var out []model.Subset
	seen := map[string]bool{}
	for i, s := range in {
		p := at.Element(i)
		if r.At(p) {
			continue
		}
		name := p.Field("name")
		if !r.At(name) {
			r.Fail(name, check.SubsetName(s.GetName()))
		}
		if seen[s.GetName()] && s.GetName() != "" {
			r.Fail(name, strict.Invalid("another subset has the name %s and this one is left out; choose another", strict.Quote(s.GetName())))
		}
		traffic := r.traffic(p.Field("trafficPolicy"), s.GetTrafficPolicy())
		if r.Count(p) > r.Count(p.Field("trafficPolicy")) {
			continue
		}
		seen[s.GetName()] = true
		out = append(out, model.Subset{Field: p.String(), Name: s.GetName(), Labels: s.GetLabels(), Traffic: traffic})
	}
	return out
}
