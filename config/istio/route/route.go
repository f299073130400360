package route

import (
	"math"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// action reads what a rule does: exactly one of route, redirect,
// directResponse and delegate.
func (r reader) action(at *strict.Path, in *networking.HTTPRoute, rule *model.HTTPRule) {
	var given []string
	if len(in.GetRoute()) > 0 || r.Broken(at.Field("route")) != "" {
		given = append(given, "route")
		rule.Route = r.destinations(at.Field("route"), httpShares(in.GetRoute()))
	}
	if in.GetRedirect() != nil {
		given = append(given, "redirect")
		rule.Redirect = r.redirect(at.Field("redirect"), in.GetRedirect())
	}
	if in.GetDirectResponse() != nil {
		given = append(given, "directResponse")
		rule.Direct = r.direct(at.Field("directResponse"), in.GetDirectResponse())
	}
	if in.GetDelegate() != nil {
		given = append(given, "delegate")
		rule.Delegate = r.delegate(at.Field("delegate"), in.GetDelegate())
	}
	switch {
	case len(given) > 1:
		r.Fail(at, strict.Invalid("%s exclude each other; keep one of them", strings.Join(given, " and ")))
	case len(given) == 0 && !r.At(at):
		r.Fail(at, strict.Missing("the rule says not what to do; add route, redirect, directResponse or delegate"))
	}
}

// delegate reads the name of the route set that takes over.
func (r reader) delegate(at *strict.Path, in *networking.Delegate) *model.Delegate {
	out := &model.Delegate{Namespace: in.GetNamespace(), Name: in.GetName()}
	if out.Namespace == "" {
		out.Namespace = r.Meta.Ref.Namespace
	}
	if r.Any(at) {
		if r.Broken(at) == "" { // with a field lost it may be another's name
			r.Fail(at, strict.Invalid("part of the delegate cannot be read; correct it"))
		}
		return out
	}
	switch {
	case in.GetName() == "":
		r.Fail(at.Field("name"), strict.Missing("name is missing; write the name of a virtual service without hosts"))
	case check.DNS(in.GetName()) != nil:
		r.Fail(at.Field("name"), strict.Invalid("%s is no name of an object; correct it", strict.Quote(in.GetName())))
	}
	if !check.IsLabel(out.Namespace) {
		r.Fail(at.Field("namespace"), strict.Invalid("%s is no namespace; correct it", strict.Quote(out.Namespace)))
	}
	return out
}

// share is a destination with its weight, of any protocol.
type share struct {
	destination *networking.Destination
	weight      int32
	headers     *networking.Headers
}

func httpShares(in []*networking.HTTPRouteDestination) []share {
	out := make([]share, len(in))
	for i, d := range in {
		out[i] = share{d.GetDestination(), d.GetWeight(), d.GetHeaders()}
	}
	return out
}

func streamShares(in []*networking.RouteDestination) []share {
	out := make([]share, len(in))
	for i, d := range in {
		out[i] = share{destination: d.GetDestination(), weight: d.GetWeight()}
	}
	return out
}

// destinations reads the destinations of a rule with their shares. Destinations
// of weight 0 are left out when there are others.
func (r reader) destinations(at *strict.Path, in []share) []model.WeightedDestination {
	var out []model.WeightedDestination
	var sum uint64
	for i, d := range in {
		p := at.Element(i)
		destination := model.WeightedDestination{
			Field:       p.String(),
			Destination: r.destination(p.Field("destination"), d.destination),
			Weight:      uint32(max(d.weight, 0)),
			Headers:     r.headers(p.Field("headers"), d.headers),
		}
		if d.weight < 0 {
			r.Fail(p.Field("weight"), strict.Invalid("%d is negative; write 0 or more", d.weight))
		}
		sum += uint64(destination.Weight)
		if len(in) == 1 {
			destination.Weight = 1
		}
		if destination.Weight > 0 {
			out = append(out, destination)
		}
	}
	if len(in) > 1 && r.Broken(at) == "" {
		if sum == 0 {
			r.Fail(at, strict.Invalid("the weights sum to 0; give at least one destination a weight"))
		} else if sum > math.MaxUint32 {
			r.Fail(at, strict.Invalid("the weights sum to %d; write smaller ones, the sum may be %d", sum, uint32(math.MaxUint32)))
		}
	}
	return out
}

func (r reader) destination(at *strict.Path, d *networking.Destination) model.Destination {
	if r.At(at) {
		return model.Destination{}
	}
	if d == nil {
		if r.Broken(at) == "" {
			r.Fail(at, strict.Missing("destination is missing; add it with a host"))
		}
		return model.Destination{}
	}
	out := model.Destination{Subset: d.GetSubset(), Port: d.GetPort().GetNumber()}
	if host := at.Field("host"); !r.At(host) {
		name, wrong := check.ParseName(d.GetHost(), check.Form{IP: true, Wildcard: true})
		if name == "*" {
			wrong = strict.Invalid("a destination must not be every host; name the host of a service")
		}
		r.Fail(host, wrong)
		out.Host = check.Qualify(name, r.Meta.Ref.Namespace)
	}
	if d.GetSubset() != "" {
		r.Fail(at.Field("subset"), check.SubsetName(d.GetSubset()))
	}
	if number := at.Field("port").Field("number"); d.GetPort() != nil && r.Broken(at.Field("port")) == "" {
		r.Fail(number, check.Port(out.Port))
	}
	return out
}

func (r reader) direct(at *strict.Path, in *networking.HTTPDirectResponse) *model.DirectResponse {
	const most = 1 << 20 // Istio's limit for a body
	out := &model.DirectResponse{Status: in.GetStatus()}
	if r.At(at) {
		return out
	}
	if status := at.Field("status"); !r.At(status) {
		if in.GetStatus() == 0 {
			r.Fail(status, strict.Missing("status is missing; write a number from 200 to 599"))
		} else if in.GetStatus() < 200 || in.GetStatus() > 599 {
			r.Fail(status, strict.Invalid("%d is no status to answer with; write a number from 200 to 599", in.GetStatus()))
		}
	}
	switch body := in.GetBody().GetSpecifier().(type) {
	case *networking.HTTPBody_String_:
		out.Body = []byte(body.String_)
	case *networking.HTTPBody_Bytes:
		out.Body = body.Bytes
	}
	if len(out.Body) > most {
		r.Fail(at.Field("body"), strict.Invalid("the body has %d bytes; write at most %d", len(out.Body), most))
	}
	return out
}
