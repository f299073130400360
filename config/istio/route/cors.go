package route

import (
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// cors reads which other origins may use a rule from a browser; nil when the
// rule leaves that to its destination.
func (r reader) cors(at *strict.Path, in *networking.CorsPolicy) *model.CORSPolicy {
	if in == nil {
		return nil
	}
	out := &model.CORSPolicy{
		AllowOrigins:     r.origins(at, in),
		MaxAge:           strict.Duration(in.GetMaxAge()),
		AllowCredentials: strict.Bool(in.GetAllowCredentials()),
		ForwardUnmatched: in.GetUnmatchedPreflights() != networking.CorsPolicy_IGNORE,
	}
	out.AllowMethods = r.Names(at.Field("allowMethods"), in.GetAllowMethods(), func(method string) (string, *strict.Finding) {
		if !check.IsToken(method) {
			return "", strict.Invalid("%s is no method; write one like GET, or %q for all", strict.Quote(method), "*")
		}
		return method, nil
	})
	header := func(name string) (string, *strict.Finding) { return name, check.HeaderName(name) }
	out.AllowHeaders = r.Names(at.Field("allowHeaders"), in.GetAllowHeaders(), header)
	out.ExposeHeaders = r.Names(at.Field("exposeHeaders"), in.GetExposeHeaders(), header)
	if out.MaxAge != nil && *out.MaxAge%time.Second != 0 {
		r.Warn(at.Field("maxAge"), strict.Invalid("browsers count whole seconds and the fraction of %s is dropped; write whole seconds", *out.MaxAge))
	}
	everybody := model.StringMatch{Kind: model.MatchExact, Value: "*"}
	if out.AllowCredentials != nil && *out.AllowCredentials && slices.Contains(out.AllowOrigins, everybody) {
		r.Warn(at.Field("allowCredentials"), strict.Invalid("every site may act with the credentials of its visitors while %q is an allowed origin; name the origins", "*"))
	}
	return out
}

// origins reads the allowed origins; allowOrigin is the older field, which
// counts only without the newer.
func (r reader) origins(at *strict.Path, in *networking.CorsPolicy) []model.StringMatch {
	newer, older := at.Field("allowOrigins"), at.Field("allowOrigin")
	var out []model.StringMatch
	for i, origin := range in.GetAllowOrigins() {
		p := newer.Element(i)
		if r.Any(p) {
			continue
		}
		if m := r.comparison(p, origin); m != nil {
			out = append(out, *m)
		}
	}
	if len(in.GetAllowOrigins()) > 0 {
		if len(in.GetAllowOrigin()) > 0 {
			r.Warn(older, strict.Invalid("allowOrigin does not count beside allowOrigins; remove it"))
		}
		return out
	}
	for _, origin := range r.Names(older, in.GetAllowOrigin(), func(origin string) (string, *strict.Finding) {
		if origin == "" {
			return "", strict.Invalid("the origin is empty; write one like https://a.example.com")
		}
		return origin, check.HeaderText(origin)
	}) {
		out = append(out, model.StringMatch{Kind: model.MatchExact, Value: origin})
	}
	if len(in.GetAllowOrigin()) == 0 && !r.Any(newer) && !r.Any(older) {
		r.Warn(at, strict.Missing("no origin is allowed; add allowOrigins"))
	}
	return out
}
