// Package route gives Istio's VirtualService its meaning.
//
// What goes in: the message that the first pass filled, and its
// [strict.Reader]. What comes out: a [model.RouteSet], and problems in the
// reader. It alone decides what the fields of a VirtualService mean. A rule with a
// fault answers 500 or closes its connections, and so does a match with a fault,
// for what its other conditions take: never does a later rule get what this one
// was to refuse.
package route

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// mesh is the word for the sidecars in a list of gateways.
const mesh = "mesh"

// reader gives the parts of a VirtualService their meaning.
type reader struct{ *strict.Reader }

// Read gives a VirtualService its meaning; nil without a usable host, unless it
// is one that others delegate to: without hosts and gateways.
func Read(from *strict.Reader, in *networking.VirtualService) model.Value {
	r := reader{from}
	spec := strict.Root("spec")
	v := &model.RouteSet{Meta: r.Meta}
	hosts, gateways := spec.Field("hosts"), spec.Field("gateways")
	child := len(in.GetHosts()) == 0 && len(in.GetGateways()) == 0 && !r.Any(hosts) && !r.Any(gateways)
	if !child {
		v.Hosts = r.routeHosts(hosts, in.GetHosts())
		v.Gateways, v.Mesh = r.routeGateways(gateways, in.GetGateways(), len(in.GetHosts()))
	}
	v.ExportTo = check.ExportTo(r.Reader, spec.Field("exportTo"), in.GetExportTo())
	r.checkRules(spec, in, child)
	for i, rule := range in.GetHttp() {
		v.HTTP = append(v.HTTP, r.rule(spec.Field("http").Element(i), rule, child))
	}
	if child {
		return v
	}
	r.streamRules(spec, in, v)
	if len(v.Hosts) == 0 {
		return nil
	}
	return v
}

// checkRules checks that there are rules of some kind; of http for a route set
// that others delegate to.
func (r reader) checkRules(spec *strict.Path, in *networking.VirtualService, child bool) {
	http, tls, tcp := spec.Field("http"), spec.Field("tls"), spec.Field("tcp")
	if child {
		for p, n := range map[*strict.Path]int{tls: len(in.GetTls()), tcp: len(in.GetTcp())} {
			if n > 0 {
				r.Fail(p, strict.Invalid("a virtual service without hosts takes over http rules only and these are left out; add hosts or remove them"))
			}
		}
	}
	if len(in.GetHttp())+len(in.GetTls())+len(in.GetTcp()) == 0 && !r.Any(http) && !r.Any(tls) && !r.Any(tcp) {
		r.Fail(http, strict.Missing("http is empty; add at least one rule, or rules of tls or tcp"))
	}
}

func (r reader) routeHosts(at *strict.Path, hosts []string) []string {
	if len(hosts) == 0 && !r.At(at) {
		r.Fail(at, strict.Missing("hosts is empty; add at least one host, or remove gateways too if others delegate to this virtual service"))
	}
	return r.Names(at, hosts, func(host string) (string, *strict.Finding) {
		name, wrong := check.ParseName(host, check.Form{Wildcard: true, IP: true})
		return check.Qualify(name, r.Meta.Ref.Namespace), wrong
	})
}

// routeGateways returns the gateways of a virtual service; none means mesh.
func (r reader) routeGateways(at *strict.Path, names []string, hosts int) ([]model.GatewayRef, bool) {
	if len(names) == 0 {
		if hosts > 0 && !r.Any(at) {
			r.Warn(at, strict.Waiting("without gateways the rules are for sidecars, which do not exist yet; name a gateway"))
		}
		return nil, !r.Any(at)
	}
	for i, name := range names {
		if name == mesh && !r.At(at.Element(i)) {
			r.Warn(at.Element(i), strict.Waiting("the rules are kept for sidecars, which do not exist yet; nothing is lost at the gateways"))
		}
	}
	return r.gateways(at, names)
}

// gateways reads a list of gateways and whether "mesh" is among them.
func (r reader) gateways(at *strict.Path, names []string) (refs []model.GatewayRef, inMesh bool) {
	for i, name := range names {
		p := at.Element(i)
		if r.At(p) {
			continue
		}
		if name == mesh {
			inMesh = true
			continue
		}
		ref, wrong := parseGatewayRef(name, r.Meta.Ref.Namespace)
		if r.Fail(p, wrong) {
			continue
		}
		if slices.Contains(refs, ref) {
			r.Warn(p, strict.Invalid("%s is listed twice; remove one of them", strict.Quote(name)))
			continue
		}
		refs = append(refs, ref)
	}
	return refs, inMesh
}

// parseGatewayRef reads "namespace/name", "name", "./name", and Istio's older
// form "name.namespace.svc.cluster.local".
func parseGatewayRef(s, own string) (model.GatewayRef, *strict.Finding) {
	ref := model.GatewayRef{Namespace: own, Name: s}
	if namespace, name, both := strings.Cut(s, "/"); both {
		ref.Name = name
		if namespace != "." {
			ref.Namespace = namespace
		}
	} else if name, rest, dots := strings.Cut(s, "."); dots {
		ref.Name = name
		ref.Namespace, _, _ = strings.Cut(rest, ".")
	}
	if !check.IsLabel(ref.Namespace) || check.DNS(ref.Name) != nil {
		return ref, strict.Invalid(`%s names no gateway; write "namespace/name", or a name in this namespace`, strict.Quote(s))
	}
	return ref, nil
}

// rule gives one rule its meaning. A rule with a fault outside its matches
// keeps its matches and answers 500.
func (r reader) rule(at *strict.Path, in *networking.HTTPRoute, child bool) model.HTTPRule {
	rule := model.HTTPRule{Field: at.String(), Name: in.GetName()}
	rule.Matches = r.matches(at.Field("match"), in.GetMatch())
	served := rule
	r.action(at, in, &served)
	if child && served.Delegate != nil {
		r.Fail(at.Field("delegate"), strict.Invalid("others delegate to this virtual service, which cannot delegate further; write the route here"))
	}
	served.Rewrite = r.rewrite(at.Field("rewrite"), in)
	served.Headers = r.headers(at.Field("headers"), in.GetHeaders())
	served.Timeout = strict.Duration(in.GetTimeout())
	served.Retries = r.retries(at.Field("retries"), in.GetRetries())
	served.Inject = r.inject(at.Field("fault"), in.GetFault())
	served.Mirrors = r.mirrors(at, in)
	served.CORS = r.cors(at.Field("corsPolicy"), in.GetCorsPolicy())
	r.times(at, &served)
	if reason := r.ruleFault(at, in); reason != "" {
		rule.Fault = &model.RuleFault{Reason: reason}
		return rule
	}
	return served
}

// ruleFault returns why a rule cannot be served as written, "" if it can. Its
// matches are no reason, nor are its mirrors: those are left out on their own.
func (r reader) ruleFault(at *strict.Path, in *networking.HTTPRoute) model.Reason {
	if r.At(at) || r.Count(at) == 0 {
		return r.Own(at)
	}
	fields := in.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		switch name := fields.Get(i).JSONName(); name {
		case "match", "name", "mirror", "mirrors", "mirrorPercent", "mirrorPercentage":
		default:
			if reason := r.Broken(at.Field(name)); reason != "" {
				return reason
			}
		}
	}
	return ""
}
