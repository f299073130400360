package istio

import (
	"math"
	"net/netip"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/annotation"
	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// service gives a ServiceEntry its meaning; nil without a usable host.
func (r reader) service(in *networking.ServiceEntry) model.Value {
	spec := strict.Root("spec")
	s := &model.Service{
		Meta:       r.Meta,
		Hosts:      r.serviceHosts(spec.Field("hosts"), in),
		Resolution: r.resolution(spec.Field("resolution"), in.GetResolution()),
		External:   in.GetLocation() == networking.ServiceEntry_MESH_EXTERNAL && !r.Any(spec.Field("location")),
	}
	s.Addresses = r.Names(spec.Field("addresses"), in.GetAddresses(), func(a string) (string, *strict.Finding) {
		return parseServiceAddress(a, s.Resolution)
	})
	s.Ports = r.servicePorts(spec.Field("ports"), in.GetPorts())
	if r.mayHaveEndpoints(spec, in) {
		s.Endpoints = r.endpoints(spec.Field("endpoints"), in.GetEndpoints(), s)
		s.WorkloadSelector = r.workloadSelector(spec.Field("workloadSelector"), in)
	}
	s.HealthCheck = r.healthCheck(s.Resolution)
	names := spec.Field("subjectAltNames")
	s.SubjectAltNames = r.Names(names, in.GetSubjectAltNames(), check.SubjectAltName)
	if r.Any(names) { // with a name lost the endpoints would be verified less
		r.Note(names, strict.Invalid("the service reaches nothing until its names can be read; correct them"))
		s.Resolution, s.Endpoints, s.WorkloadSelector = model.ResolutionStatic, nil, nil
	}
	s.ExportTo = check.ExportTo(r.Reader, spec.Field("exportTo"), in.GetExportTo())
	if len(s.Hosts) == 0 {
		return nil
	}
	return s
}

func (r reader) serviceHosts(at *strict.Path, in *networking.ServiceEntry) []string {
	if len(in.GetHosts()) == 0 && !r.Any(at) {
		r.Fail(at, strict.Missing("hosts is empty; add at least one DNS name"))
	}
	// Without endpoints the hosts themselves are looked up.
	lookup := in.GetResolution() == networking.ServiceEntry_DNS || in.GetResolution() == networking.ServiceEntry_DNS_ROUND_ROBIN
	lookup = lookup && len(in.GetEndpoints()) == 0 && in.GetWorkloadSelector() == nil
	return r.Names(at, in.GetHosts(), func(host string) (string, *strict.Finding) {
		name, wrong := check.ParseName(host, check.Form{Wildcard: true})
		switch {
		case wrong != nil:
			return "", wrong
		case name == "*":
			return "", strict.Invalid("%s alone is no host of a service; write a DNS name", strict.Quote("*"))
		case lookup && strings.HasPrefix(name, "*"):
			return "", strict.Invalid("%s cannot be looked up and is left out; add endpoints or write the host in full", strict.Quote(host))
		}
		return name, nil
	})
}

// resolution returns where the endpoints come from. A broken one is STATIC,
// which reaches nothing but what is listed.
func (r reader) resolution(at *strict.Path, in networking.ServiceEntry_Resolution) model.Resolution {
	switch {
	case r.Any(at):
		return model.ResolutionStatic
	case in == networking.ServiceEntry_DNS:
		return model.ResolutionDNS
	case in == networking.ServiceEntry_DNS_ROUND_ROBIN:
		return model.ResolutionDNSRoundRobin
	case in == networking.ServiceEntry_NONE:
		return model.ResolutionNone
	case in == networking.ServiceEntry_DYNAMIC_DNS:
		return model.ResolutionDynamic
	}
	return model.ResolutionStatic
}

// mayHaveEndpoints reports whether the resolution goes with endpoints. With
// NONE and DYNAMIC_DNS the client says where to go.
func (r reader) mayHaveEndpoints(spec *strict.Path, in *networking.ServiceEntry) bool {
	if r.Any(spec.Field("resolution")) {
		return false
	}
	switch in.GetResolution() {
	case networking.ServiceEntry_NONE, networking.ServiceEntry_DYNAMIC_DNS:
	default:
		return true
	}
	if endpoints := spec.Field("endpoints"); len(in.GetEndpoints()) > 0 && !r.At(endpoints) {
		r.Fail(endpoints, strict.Invalid("resolution %s takes no endpoints and these are left out; write STATIC or DNS", in.GetResolution()))
	}
	if selector := spec.Field("workloadSelector"); in.GetWorkloadSelector() != nil && !r.At(selector) {
		r.Fail(selector, strict.Invalid("resolution %s takes no endpoints and the selector is left out; write STATIC or DNS", in.GetResolution()))
	}
	return false
}

// healthCheck reads the annotation that asks for probes.
func (r reader) healthCheck(resolution model.Resolution) *model.HealthCheck {
	text, given := r.Meta.Annotations[annotation.HealthCheck]
	if !given {
		return nil
	}
	at := annotationPath(annotation.HealthCheck)
	out, faults := annotation.ParseHealthCheck(text)
	for _, f := range faults {
		r.Note(at, strict.Invalid("%s", f))
	}
	if out != nil && (resolution == model.ResolutionNone || resolution == model.ResolutionDynamic) {
		r.Note(at, strict.Invalid("resolution %s has no endpoints to probe; remove the annotation", resolution))
		return nil
	}
	return out
}

func annotationPath(name string) *strict.Path {
	return strict.Root("metadata").Field("annotations").Entry(name)
}

// parseServiceAddress reads an IP address, or a range of them where the
// endpoints are not looked up.
func parseServiceAddress(s string, resolution model.Resolution) (string, *strict.Finding) {
	if address, err := netip.ParseAddr(s); err == nil && address.Zone() == "" {
		return address.Unmap().String(), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return "", strict.Invalid("%s is neither an IP address nor a range of them; correct it", strict.Quote(s))
	}
	if resolution != model.ResolutionStatic && resolution != model.ResolutionNone {
		return "", strict.Invalid("%s is a range, which works with resolution STATIC or NONE only; write single addresses", strict.Quote(s))
	}
	return prefix.Masked().String(), nil
}

// servicePorts leaves out ports with a fault, and repeated ones.
func (r reader) servicePorts(at *strict.Path, in []*networking.ServicePort) []model.ServicePort {
	if len(in) == 0 && !r.Any(at) {
		r.Fail(at, strict.Missing("ports is empty; add at least one port"))
	}
	var out []model.ServicePort
	names, numbers := map[string]bool{}, map[uint32]bool{}
	for i, p := range in {
		port := at.Element(i)
		if r.At(port) {
			continue
		}
		r.servicePort(port, p)
		if names[p.GetName()] && p.GetName() != "" {
			r.Fail(port.Field("name"), strict.Invalid("another port has the name %s and this one is left out; choose another", strict.Quote(p.GetName())))
		}
		if numbers[p.GetNumber()] {
			r.Fail(port.Field("number"), strict.Invalid("another port has the number %d and this one is left out; choose another", p.GetNumber()))
		}
		if r.Broken(port) != "" {
			continue
		}
		names[p.GetName()], numbers[p.GetNumber()] = true, true
		protocol, _ := check.ParseProtocol(p.GetProtocol())
		if p.GetProtocol() == "" {
			protocol = model.ProtocolHTTP // as a gateway treats an unknown one
		}
		out = append(out, model.ServicePort{
			Name: p.GetName(), Number: p.GetNumber(), Protocol: protocol, TargetPort: p.GetTargetPort(),
		})
	}
	return out
}

func (r reader) servicePort(at *strict.Path, in *networking.ServicePort) {
	if number := at.Field("number"); !r.At(number) {
		r.Fail(number, check.Port(in.GetNumber()))
	}
	if in.GetTargetPort() != 0 {
		r.Fail(at.Field("targetPort"), check.Port(in.GetTargetPort()))
	}
	if name := at.Field("name"); in.GetName() == "" && !r.At(name) {
		r.Warn(name, strict.Missing("the port has no name; give it one of its own"))
	}
	protocol := at.Field("protocol")
	if _, known := check.ParseProtocol(in.GetProtocol()); !known && in.GetProtocol() != "" {
		r.Fail(protocol, strict.Invalid("%s is no protocol; write %s", strict.Quote(in.GetProtocol()), check.ProtocolWords))
	}
}

// endpoints reads the endpoints of a service; those with a fault are left out.
func (r reader) endpoints(at *strict.Path, in []*networking.WorkloadEntry, s *model.Service) []model.Endpoint {
	var out []model.Endpoint
	var sum uint64
	for i, e := range in {
		p := at.Element(i)
		if r.At(p) {
			continue
		}
		endpoint := r.endpoint(p, e)
		endpoint.Field = p.String()
		r.checkEndpoint(p, endpoint, s)
		if weight := uint64(max(endpoint.Weight, 1)); sum+weight > math.MaxUint32 {
			r.Fail(p.Field("weight"), strict.Invalid("the weights sum to more than %d; write smaller ones", uint32(math.MaxUint32)))
		}
		if s.Resolution == model.ResolutionDNSRoundRobin && len(out) == 1 {
			r.Fail(p, strict.Invalid("resolution DNS_ROUND_ROBIN takes one endpoint and this one is left out; remove it or write DNS"))
		}
		if r.Broken(p) != "" {
			continue
		}
		sum += uint64(max(endpoint.Weight, 1))
		out = append(out, endpoint)
	}
	return out
}

func (r reader) checkEndpoint(at *strict.Path, e model.Endpoint, s *model.Service) {
	if s.Resolution == model.ResolutionStatic && r.Broken(at.Field("address")) == "" {
		if _, err := netip.ParseAddr(e.Address); err != nil {
			r.Fail(at.Field("address"), strict.Invalid("%s is no IP address; write one, or set resolution to DNS", strict.Quote(e.Address)))
		}
	}
	for _, name := range strict.SortedKeys(e.Ports) {
		known := false
		for _, p := range s.Ports {
			known = known || p.Name == name
		}
		if !known && !r.Any(at.Field("ports").Entry(name)) {
			r.Warn(at.Field("ports").Entry(name), strict.Invalid("the service has no port of the name %s; correct the name", strict.Quote(name)))
		}
	}
}

// workloadSelector returns the labels that pick workloads; nil when not given,
// or when part of them is lost, which would pick others too.
func (r reader) workloadSelector(at *strict.Path, in *networking.ServiceEntry) map[string]string {
	selector := in.GetWorkloadSelector()
	if selector == nil || r.Any(at) {
		return nil
	}
	switch {
	case len(in.GetEndpoints()) > 0:
		r.Fail(at, strict.Invalid("endpoints and workloadSelector exclude each other and the selector is left out; keep one of them"))
		return nil
	case len(selector.GetLabels()) == 0:
		r.Fail(at, strict.Missing("the selector has no labels and picks nothing; add labels"))
		return nil
	}
	return selector.GetLabels()
}
