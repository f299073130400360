package route

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// mirrors reads where copies of the requests of a rule go: mirror with its
// percentage beside it, or mirrors. One with a fault is left out, and so is one
// of 0 %: the requests themselves do not suffer.
func (r reader) mirrors(at *strict.Path, in *networking.HTTPRoute) []model.Mirror {
	one, many := at.Field("mirror"), at.Field("mirrors")
	if in.GetMirror() != nil && len(in.GetMirrors()) > 0 {
		r.Fail(many, strict.Invalid("mirror and mirrors exclude each other and both are left out; keep one of them"))
		return nil
	}
	share := written{at: at.Field("mirrorPercentage"), value: in.GetMirrorPercentage(), absent: 100}
	if p := in.GetMirrorPercent(); p != nil { // deprecated
		share.old, share.oldAt = float64(p.GetValue()), at.Field("mirrorPercent")
	}
	var out []model.Mirror
	if in.GetMirror() != nil {
		m := model.Mirror{Field: one.String(), Destination: r.destination(one, in.GetMirror()), Percent: r.percent(share)}
		if m.Percent > 0 && r.Broken(one) == "" && !r.Any(share.at) && !r.Any(at.Field("mirrorPercent")) {
			out = append(out, m)
		}
	} else if (share.value != nil || share.oldAt != nil) && !r.Any(one) {
		r.percent(share)
		r.Warn(share.at, strict.Invalid("the percentage is for mirror, which is not given; give each of mirrors its own percentage, or remove it"))
	}
	for i, m := range in.GetMirrors() {
		p := many.Element(i)
		if r.At(p) {
			continue
		}
		mirror := model.Mirror{Field: p.String(), Destination: r.destination(p.Field("destination"), m.GetDestination())}
		mirror.Percent = r.percent(written{at: p.Field("percentage"), value: m.GetPercentage(), absent: 100})
		if mirror.Percent > 0 && r.Broken(p) == "" && !r.Any(p.Field("percentage")) {
			out = append(out, mirror)
		}
	}
	return out
}
