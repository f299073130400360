package istio

import (
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/model"
)

// action reads what a rule does: exactly one of route, redirect and
// directResponse.
func (r *reader) action(at *path, in *networking.HTTPRoute, rule *model.HTTPRule) {
	var given []string
	if len(in.GetRoute()) > 0 || r.broken(at.field("route")) != "" {
		given = append(given, "route")
		rule.Route = r.destinations(at.field("route"), in.GetRoute())
	}
	if in.GetRedirect() != nil {
		given = append(given, "redirect")
		rule.Redirect = r.redirect(at.field("redirect"), in.GetRedirect())
	}
	if in.GetDirectResponse() != nil {
		given = append(given, "directResponse")
		rule.Direct = r.direct(at.field("directResponse"), in.GetDirectResponse())
	}
	switch {
	case len(given) > 1:
		r.fail(at, invalid("%s exclude each other; keep one of them", strings.Join(given, " and ")))
	case len(given) == 0 && !r.any(at.field("delegate")) && !r.at(at):
		r.fail(at, missing("the rule says not what to do; add route, redirect or directResponse"))
	}
}

// destinations reads the destinations of a rule with their shares. Destinations
// of weight 0 are left out when there are others.
func (r *reader) destinations(at *path, in []*networking.HTTPRouteDestination) []model.WeightedDestination {
	var out []model.WeightedDestination
	var sum uint64
	for i, d := range in {
		p := at.element(i)
		destination := model.WeightedDestination{
			Field:       p.String(),
			Destination: r.destination(p.field("destination"), d),
			Weight:      uint32(max(d.GetWeight(), 0)),
			Headers:     r.headers(p.field("headers"), d.GetHeaders()),
		}
		if d.GetWeight() < 0 {
			r.fail(p.field("weight"), invalid("%d is negative; write 0 or more", d.GetWeight()))
		}
		sum += uint64(destination.Weight)
		if len(in) == 1 {
			destination.Weight = 1
		}
		if destination.Weight > 0 {
			out = append(out, destination)
		}
	}
	if len(in) > 1 && r.broken(at) == "" {
		if sum == 0 {
			r.fail(at, invalid("the weights sum to 0; give at least one destination a weight"))
		} else if sum > math.MaxUint32 {
			r.fail(at, invalid("the weights sum to %d; write smaller ones, the sum may be %d", sum, uint32(math.MaxUint32)))
		}
	}
	return out
}

func (r *reader) destination(at *path, in *networking.HTTPRouteDestination) model.Destination {
	d := in.GetDestination()
	if r.at(at) {
		return model.Destination{}
	}
	if d == nil {
		if r.broken(at) == "" {
			r.fail(at, missing("destination is missing; add it with a host"))
		}
		return model.Destination{}
	}
	out := model.Destination{Subset: d.GetSubset(), Port: d.GetPort().GetNumber()}
	if host := at.field("host"); !r.at(host) {
		name, wrong := parseName(d.GetHost(), nameForm{ip: true})
		r.fail(host, wrong)
		out.Host = qualify(name, r.meta.Ref.Namespace)
	}
	if d.GetSubset() != "" {
		r.fail(at.field("subset"), checkSubsetName(d.GetSubset()))
	}
	if number := at.field("port").field("number"); d.GetPort() != nil && r.broken(at.field("port")) == "" {
		r.fail(number, checkPort(out.Port))
	}
	return out
}

func (r *reader) direct(at *path, in *networking.HTTPDirectResponse) *model.DirectResponse {
	const most = 1 << 20 // Istio's limit for a body
	out := &model.DirectResponse{Status: in.GetStatus()}
	if r.at(at) {
		return out
	}
	if status := at.field("status"); !r.at(status) {
		if in.GetStatus() == 0 {
			r.fail(status, missing("status is missing; write a number from 200 to 599"))
		} else if in.GetStatus() < 200 || in.GetStatus() > 599 {
			r.fail(status, invalid("%d is no status to answer with; write a number from 200 to 599", in.GetStatus()))
		}
	}
	switch body := in.GetBody().GetSpecifier().(type) {
	case *networking.HTTPBody_String_:
		out.Body = []byte(body.String_)
	case *networking.HTTPBody_Bytes:
		out.Body = body.Bytes
	}
	if len(out.Body) > most {
		r.fail(at.field("body"), invalid("the body has %d bytes; write at most %d", len(out.Body), most))
	}
	return out
}

// duration returns nil for a field that is not set.
func duration(d *durationpb.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	out := d.AsDuration()
	return &out
}
