package istio

import (
	"math"
	"net/netip"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/model"
)

// service gives a ServiceEntry its meaning; nil without a usable host.
func (r *reader) service(in *networking.ServiceEntry) model.Value {
	spec := root("spec")
	s := &model.Service{
		Meta:       r.meta,
		Hosts:      r.serviceHosts(spec.field("hosts"), in),
		Resolution: r.resolution(spec.field("resolution"), in.GetResolution()),
		External:   in.GetLocation() == networking.ServiceEntry_MESH_EXTERNAL && !r.any(spec.field("location")),
	}
	s.Addresses = r.names(spec.field("addresses"), in.GetAddresses(), func(a string) (string, *finding) {
		return parseServiceAddress(a, s.Resolution)
	})
	s.Ports = r.servicePorts(spec.field("ports"), in.GetPorts())
	s.Endpoints = r.endpoints(spec.field("endpoints"), in.GetEndpoints(), s)
	s.WorkloadSelector = r.workloadSelector(spec.field("workloadSelector"), in)
	r.exportTo(spec.field("exportTo"), in.GetExportTo())
	if len(s.Hosts) == 0 {
		return nil
	}
	return s
}

func (r *reader) serviceHosts(at *path, in *networking.ServiceEntry) []string {
	if len(in.GetHosts()) == 0 && !r.any(at) {
		r.fail(at, missing("hosts is empty; add at least one DNS name"))
	}
	// Without endpoints the hosts themselves are looked up.
	lookup := in.GetResolution() == networking.ServiceEntry_DNS || in.GetResolution() == networking.ServiceEntry_DNS_ROUND_ROBIN
	lookup = lookup && len(in.GetEndpoints()) == 0 && in.GetWorkloadSelector() == nil
	return r.names(at, in.GetHosts(), func(host string) (string, *finding) {
		name, wrong := parseName(host, nameForm{wildcard: true})
		switch {
		case wrong != nil:
			return "", wrong
		case name == "*":
			return "", invalid("%s alone is no host of a service; write a DNS name", quote("*"))
		case lookup && strings.HasPrefix(name, "*"):
			return "", invalid("%s cannot be looked up and is left out; add endpoints or write the host in full", quote(host))
		}
		return name, nil
	})
}

func (r *reader) resolution(at *path, in networking.ServiceEntry_Resolution) model.Resolution {
	switch in {
	case networking.ServiceEntry_STATIC:
		return model.ResolutionStatic
	case networking.ServiceEntry_DNS:
		return model.ResolutionDNS
	case networking.ServiceEntry_DNS_ROUND_ROBIN:
		return model.ResolutionDNSRoundRobin
	}
	if !r.any(at) {
		r.note(at, notYet("resolution %s is not supported yet and the service gets no endpoints; write STATIC, DNS or DNS_ROUND_ROBIN", in))
	}
	return model.ResolutionNone
}

// parseServiceAddress reads an IP address, or a range of them where the
// endpoints are not looked up.
func parseServiceAddress(s string, resolution model.Resolution) (string, *finding) {
	if address, err := netip.ParseAddr(s); err == nil && address.Zone() == "" {
		return address.Unmap().String(), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return "", invalid("%s is neither an IP address nor a range of them; correct it", quote(s))
	}
	if resolution == model.ResolutionDNS || resolution == model.ResolutionDNSRoundRobin {
		return "", invalid("%s is a range, which works with resolution STATIC only; write single addresses", quote(s))
	}
	return prefix.Masked().String(), nil
}

// servicePorts leaves out ports with a fault, and repeated ones.
func (r *reader) servicePorts(at *path, in []*networking.ServicePort) []model.ServicePort {
	if len(in) == 0 && !r.any(at) {
		r.fail(at, missing("ports is empty; add at least one port"))
	}
	var out []model.ServicePort
	names, numbers := map[string]bool{}, map[uint32]bool{}
	for i, p := range in {
		port := at.element(i)
		if r.at(port) {
			continue
		}
		r.servicePort(port, p)
		if names[p.GetName()] && p.GetName() != "" {
			r.fail(port.field("name"), invalid("another port has the name %s and this one is left out; choose another", quote(p.GetName())))
		}
		if numbers[p.GetNumber()] {
			r.fail(port.field("number"), invalid("another port has the number %d and this one is left out; choose another", p.GetNumber()))
		}
		if r.broken(port) != "" {
			continue
		}
		names[p.GetName()], numbers[p.GetNumber()] = true, true
		protocol, _ := parseProtocol(p.GetProtocol())
		if p.GetProtocol() == "" {
			protocol = model.ProtocolHTTP // as a gateway treats an unknown one
		}
		out = append(out, model.ServicePort{
			Name: p.GetName(), Number: p.GetNumber(), Protocol: protocol, TargetPort: p.GetTargetPort(),
		})
	}
	return out
}

func (r *reader) servicePort(at *path, in *networking.ServicePort) {
	if number := at.field("number"); !r.at(number) {
		r.fail(number, checkPort(in.GetNumber()))
	}
	if in.GetTargetPort() != 0 {
		r.fail(at.field("targetPort"), checkPort(in.GetTargetPort()))
	}
	if name := at.field("name"); in.GetName() == "" && !r.at(name) {
		r.warn(name, missing("the port has no name; give it one of its own"))
	}
	protocol := at.field("protocol")
	if _, known := parseProtocol(in.GetProtocol()); !known && in.GetProtocol() != "" {
		r.fail(protocol, invalid("%s is no protocol; write %s", quote(in.GetProtocol()), protocolWords))
	}
}

// endpoints reads the endpoints of a service; those with a fault are left out.
func (r *reader) endpoints(at *path, in []*networking.WorkloadEntry, s *model.Service) []model.Endpoint {
	var out []model.Endpoint
	var sum uint64
	for i, e := range in {
		p := at.element(i)
		if r.at(p) {
			continue
		}
		endpoint := r.endpoint(p, e)
		endpoint.Field = p.String()
		r.checkEndpoint(p, endpoint, s)
		if weight := uint64(max(endpoint.Weight, 1)); sum+weight > math.MaxUint32 {
			r.fail(p.field("weight"), invalid("the weights sum to more than %d; write smaller ones", uint32(math.MaxUint32)))
		}
		if s.Resolution == model.ResolutionDNSRoundRobin && len(out) == 1 {
			r.fail(p, invalid("resolution DNS_ROUND_ROBIN takes one endpoint and this one is left out; remove it or write DNS"))
		}
		if r.broken(p) != "" {
			continue
		}
		sum += uint64(max(endpoint.Weight, 1))
		out = append(out, endpoint)
	}
	return out
}

func (r *reader) checkEndpoint(at *path, e model.Endpoint, s *model.Service) {
	if s.Resolution == model.ResolutionStatic && r.broken(at.field("address")) == "" {
		if _, err := netip.ParseAddr(e.Address); err != nil {
			r.fail(at.field("address"), invalid("%s is no IP address; write one, or set resolution to DNS", quote(e.Address)))
		}
	}
	for _, name := range sortedKeys(e.Ports) {
		known := false
		for _, p := range s.Ports {
			known = known || p.Name == name
		}
		if !known && !r.any(at.field("ports").entry(name)) {
			r.warn(at.field("ports").entry(name), invalid("the service has no port of the name %s; correct the name", quote(name)))
		}
	}
}

// workloadSelector returns the labels that pick workloads; nil when not given,
// or when part of them is lost, which would pick others too.
func (r *reader) workloadSelector(at *path, in *networking.ServiceEntry) map[string]string {
	selector := in.GetWorkloadSelector()
	if selector == nil || r.any(at) {
		return nil
	}
	switch {
	case len(in.GetEndpoints()) > 0:
		r.fail(at, invalid("endpoints and workloadSelector exclude each other and the selector is left out; keep one of them"))
		return nil
	case len(selector.GetLabels()) == 0:
		r.fail(at, missing("the selector has no labels and picks nothing; add labels"))
		return nil
	}
	return selector.GetLabels()
}
