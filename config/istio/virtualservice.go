package istio

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/model"
)

// mesh is the word for the sidecars in a list of gateways.
const mesh = "mesh"

// routeSet gives a VirtualService its meaning; nil without a usable host.
func (r *reader) routeSet(in *networking.VirtualService) model.Value {
	spec := root("spec")
	v := &model.RouteSet{Meta: r.meta}
	v.Hosts = r.routeHosts(spec.field("hosts"), in.GetHosts())
	v.Gateways, v.Mesh = r.routeGateways(spec.field("gateways"), in.GetGateways())
	r.exportTo(spec.field("exportTo"), in.GetExportTo())

	http := spec.field("http")
	if len(in.GetHttp()) == 0 && !r.any(http) && !r.any(spec.field("tls")) && !r.any(spec.field("tcp")) {
		r.fail(http, missing("http is empty; add at least one rule"))
	}
	for i, rule := range in.GetHttp() {
		v.HTTP = append(v.HTTP, r.rule(http.element(i), rule))
	}
	if len(v.Hosts) == 0 {
		return nil
	}
	return v
}

func (r *reader) routeHosts(at *path, hosts []string) []string {
	if len(hosts) == 0 && !r.at(at) {
		r.fail(at, missing("hosts is empty; add at least one host (a virtual service that another delegates to is not supported yet)"))
	}
	return r.names(at, hosts, func(host string) (string, *finding) {
		name, wrong := parseName(host, nameForm{wildcard: true, ip: true})
		return qualify(name, r.meta.Ref.Namespace), wrong
	})
}

// routeGateways returns the gateways of a virtual service; none means mesh.
func (r *reader) routeGateways(at *path, names []string) ([]model.GatewayRef, bool) {
	if len(names) == 0 {
		return nil, !r.any(at)
	}
	return r.gateways(at, names)
}

// gateways reads a list of gateways and whether "mesh" is among them.
func (r *reader) gateways(at *path, names []string) (refs []model.GatewayRef, inMesh bool) {
	for i, name := range names {
		p := at.element(i)
		if r.at(p) {
			continue
		}
		if name == mesh {
			inMesh = true
			continue
		}
		ref, wrong := parseGatewayRef(name, r.meta.Ref.Namespace)
		if r.fail(p, wrong) {
			continue
		}
		if slices.Contains(refs, ref) {
			r.warn(p, invalid("%s is listed twice; remove one of them", quote(name)))
			continue
		}
		refs = append(refs, ref)
	}
	return refs, inMesh
}

// parseGatewayRef reads "namespace/name", "name", "./name", and Istio's older
// form "name.namespace.svc.cluster.local".
func parseGatewayRef(s, own string) (model.GatewayRef, *finding) {
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
	if !isLabel(ref.Namespace) || checkDNS(ref.Name) != nil {
		return ref, invalid(`%s names no gateway; write "namespace/name", or a name in this namespace`, quote(s))
	}
	return ref, nil
}

// rule gives one rule its meaning. A rule with a fault outside its matches
// keeps its matches and answers 500.
func (r *reader) rule(at *path, in *networking.HTTPRoute) model.HTTPRule {
	rule := model.HTTPRule{Field: at.String(), Name: in.GetName()}
	r.matches(at.field("match"), in.GetMatch(), &rule)
	rule.Unmatchable = rule.Unmatchable || r.at(at) // nobody knows what it would take
	served := rule
	r.action(at, in, &served)
	served.Rewrite = r.rewrite(at.field("rewrite"), in)
	served.Headers = r.headers(at.field("headers"), in.GetHeaders())
	served.Timeout = duration(in.GetTimeout())
	served.Retries = r.retries(at.field("retries"), in.GetRetries())
	if reason := r.ruleFault(at, in); reason != "" {
		rule.Fault = &model.RuleFault{Reason: reason}
		return rule
	}
	return served
}

// ruleFault returns why a rule cannot be served as written, "" if it can.
func (r *reader) ruleFault(at *path, in *networking.HTTPRoute) model.Reason {
	if r.at(at) || r.count(at) == 0 {
		return r.fault(at).own
	}
	if r.any(at.field("delegate")) {
		return model.ReasonNotYetSupported
	}
	fields := in.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if name := fields.Get(i).JSONName(); name != "match" && name != "name" {
			if reason := r.broken(at.field(name)); reason != "" {
				return reason
			}
		}
	}
	return ""
}
