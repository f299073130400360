package compile

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/sluicegw/sluice/compile/graph"
	"github.com/sluicegw/sluice/model"
)

// service is what the objects that declare one host make together.
type service struct {
	*model.Service // the first of them, with the ports of all
	// parts are those of them that count, the first before the others.
	parts []*model.Service
}

func sameService(a, b *service) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.parts, b.parts)
}

// findService returns the service with a host that the fleet may see, nil if
// there is none. A host below a wildcard that is resolved on demand is a DNS
// service of its own.
func (rs *rules) findService(rd *graph.Reader, host string) *service {
	if s := rs.declared(rd, host); s != nil {
		return s
	}
	for name := host; name != "*"; {
		name = wider(name)
		if s := rs.declared(rd, name); s != nil && s.Resolution == model.ResolutionDynamic {
			one := *s.Service
			one.Hosts, one.Resolution, one.Endpoints = []string{host}, model.ResolutionDNS, nil
			return &service{&one, []*model.Service{&one}}
		}
	}
	return nil
}

// declared merges the objects that declare a host by this very name, nil if no
// visible one does.
//
// Source: Istio merges the ServiceEntries of a host in one namespace, has a
// Kubernetes Service go before them, and the namespace of the proxy before
// others.
func (rs *rules) declared(rd *graph.Reader, host string) *service {
	var found []*model.Service
	for _, ref := range rs.servicesByHost.Read(rd, host) {
		if s, ok := rs.objects.Read(rd, ref).(*model.Service); ok && s.ExportTo.Shows(rs.fleet.Namespace) {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return nil
	case 1:
		return &service{found[0], found}
	}
	slices.SortFunc(found, rs.byNearness)
	found = slices.DeleteFunc(found, func(s *model.Service) bool { return unmergeable(found[0], s).why != "" })
	head := *found[0]
	head.Ports = slices.Clone(head.Ports)
	for _, s := range found[1:] {
		for _, p := range s.Ports {
			if _, taken := pickPort(head.Ports, p.Number, false); !taken {
				head.Ports = append(head.Ports, p)
			}
		}
		if head.HealthCheck == nil {
			head.HealthCheck = s.HealthCheck
		}
	}
	return &service{&head, found}
}

// byNearness orders the services of one host: the first rules.
func (rs *rules) byNearness(a, b *model.Service) int {
	rank := func(s *model.Service) int {
		switch {
		case isKubernetes(s):
			return 0
		case s.Ref.Namespace == rs.fleet.Namespace:
			return 1
		}
		return 2
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Compare(&b.Meta))
}

func isKubernetes(s *model.Service) bool { return s.Resolution == model.ResolutionSlices }

// aside is why something of a service does not count.
type aside struct {
	field    string
	why      string // "" if it counts
	severity model.Severity
}

// unmergeable says why a service cannot add to the one that goes before it.
func unmergeable(first, s *model.Service) aside {
	switch {
	case s == first:
		return aside{}
	case isKubernetes(first):
		return aside{"spec.hosts", "a Kubernetes Service goes before a ServiceEntry; name another host or remove one of the two", model.SeverityWarning}
	case s.Ref.Namespace != first.Ref.Namespace:
		return aside{"spec.hosts", "only entries of one namespace are merged; declare it there, name another host, or limit exportTo", model.SeverityWarning}
	case s.Resolution != first.Resolution:
		return aside{"spec.resolution", fmt.Sprintf("its resolution is %s, and not %s as here; say the same or remove one of the two", first.Resolution, s.Resolution), model.SeverityError}
	case !sameNames(s.SubjectAltNames, first.SubjectAltNames):
		return aside{"spec.subjectAltNames", "its subjectAltNames are others, and they are verified for the host; say the same in both", model.SeverityError}
	}
	return aside{}
}

func sameNames(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// unmergeablePort says why the endpoints of a part are not used for a port that
// it has in common with the whole.
func unmergeablePort(whole *service, part *model.Service, port model.ServicePort) aside {
	have, _ := pickPort(whole.Ports, port.Number, false)
	switch {
	case have.Protocol != port.Protocol:
		return aside{"spec.ports", fmt.Sprintf("there port %d is %s, and not %s as here; say the same or take another port", port.Number, have.Protocol, port.Protocol), model.SeverityError}
	case whole.Resolution == model.ResolutionDNSRoundRobin && part != whole.firstWith(port.Number):
		return aside{"spec.endpoints", fmt.Sprintf("resolution %s takes one name for port %d, and there is one; use DNS for several", whole.Resolution, port.Number), model.SeverityError}
	}
	return aside{}
}

// firstWith returns the part that brought a port.
func (s *service) firstWith(port uint32) *model.Service {
	for _, part := range s.parts {
		if _, ok := pickPort(part.Ports, port, false); ok {
			return part
		}
	}
	return nil
}

// checkService reports what of a service does not count because another object
// has its host.
func (rs *rules) checkService(rd *graph.Reader, s *model.Service) (out resources) {
	if !s.ExportTo.Shows(rs.fleet.Namespace) {
		return out
	}
	tell := func(host string, first *model.Service, a aside) {
		if a.why == "" {
			return
		}
		out.faults = append(out.faults, model.Problem{
			Object: s.Ref, Field: a.field, Reason: model.ReasonHostConflict, Severity: a.severity,
			Message: fmt.Sprintf("host %q is that of %v, too, which goes before: %s", host, first.Ref, a.why),
		})
	}
	for _, host := range s.Hosts {
		whole := rs.service.Read(rd, host)
		if whole == nil || whole.parts[0] == s {
			continue
		}
		if !slices.Contains(whole.parts, s) {
			tell(host, whole.Service, unmergeable(whole.parts[0], s))
			continue
		}
		for _, p := range s.Ports {
			tell(host, whole.firstWith(p.Number), unmergeablePort(whole, s, p))
		}
	}
	return out
}

// pinContested has the services checked whose host is not theirs alone.
func (rs *rules) pinContested(s *model.Service) {
	for _, host := range s.Hosts {
		switch rivals := rs.servicesByHost.Members(host); {
		case len(rivals) == 2:
			for ref := range rivals {
				rs.checked.Pin(ref)
			}
		case len(rivals) > 2:
			rs.checked.Pin(s.Ref)
		}
	}
}

// endpointsOf gathers the endpoints of a port from every part of its service.
func (rs *rules) endpointsOf(rd *graph.Reader, p place) (out []model.Endpoint) {
	if len(p.service.parts) == 1 {
		return rs.endpointsOfPart(rd, p.service.parts[0], p.port)
	}
	for _, part := range p.service.parts {
		port, ok := pickPort(part.Ports, p.port.Number, false)
		if !ok || unmergeablePort(p.service, part, port).why != "" {
			continue
		}
		endpoints := rs.endpointsOfPart(rd, part, port)
		if len(endpoints) == 0 && part.WorkloadSelector == nil && (part.Resolution == model.ResolutionDNS || part.Resolution == model.ResolutionDNSRoundRobin) {
			endpoints = []model.Endpoint{{Address: p.host}} // the host itself is where it is
		}
		for _, ep := range endpoints {
			out = append(out, renamed(ep, port, p.port))
		}
	}
	return out
}

// renamed returns an endpoint of a port as one of the same port by another name.
func renamed(ep model.Endpoint, from, to model.ServicePort) model.Endpoint {
	if number, ok := ep.Ports[from.Name]; ok {
		ep.Ports = map[string]uint32{to.Name: number}
	} else {
		ep.Ports = map[string]uint32{to.Name: cmp.Or(from.TargetPort, from.Number)}
	}
	return ep
}
