package compile

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/upstream"
)

// target is where a destination leads.
type target struct {
	model.Target
	destination model.Destination // with its port
}

func sameTarget(a, b target) bool { return reflect.DeepEqual(a, b) }

func targetFor(d model.Destination, listener uint32) targetKey {
	k := targetKey{destination: d}
	if d.Port == 0 {
		k.listener = listener
	}
	return k
}

// findService returns the oldest service with a host, nil if there is none.
func (rs *rules) findService(rd *reader, host string) *model.Service {
	var oldest *model.Service
	for _, ref := range rs.servicesByHost.read(rd, host) {
		s, ok := rs.objects.read(rd, ref).(*model.Service)
		if ok && (oldest == nil || s.Older(&oldest.Meta)) {
			oldest = s
		}
	}
	return oldest
}

// findPolicies returns the policies of the most specific name that covers a
// host, oldest first.
func (rs *rules) findPolicies(rd *reader, host string) (out []*model.DestinationPolicy) {
	for name := host; ; {
		for _, ref := range rs.policiesByHost.read(rd, name) {
			if p, ok := rs.objects.read(rd, ref).(*model.DestinationPolicy); ok {
				out = append(out, p)
			}
		}
		if len(out) > 0 || name == "*" {
			break
		}
		name = wider(name)
	}
	slices.SortFunc(out, func(a, b *model.DestinationPolicy) int { return a.Compare(&b.Meta) })
	return out
}

// wider returns the next wildcard that covers a name: "a.b.c" → "*.b.c" →
// "*.c" → "*".
func wider(name string) string {
	_, rest, ok := strings.Cut(strings.TrimPrefix(name, "*."), ".")
	if !ok {
		return "*"
	}
	return "*." + rest
}

// resolve finds the cluster of a destination.
func (rs *rules) resolve(rd *reader, key targetKey) target {
	d := key.destination
	missing := func(r model.Reason, format string, args ...any) target {
		return target{Target: model.Target{Reason: r, Message: fmt.Sprintf(format, args...)}}
	}
	svc := rs.service.read(rd, d.Host)
	if svc == nil {
		return missing(model.ReasonDestinationMissing, "no service has the host %q; declare it as a ServiceEntry or Service, or correct the name", d.Host)
	}
	port, ok := pickPort(svc.Ports, cmp.Or(d.Port, key.listener), d.Port == 0)
	if !ok {
		return missing(model.ReasonPortMissing, "%v has %s; name one of them in destination.port.number", svc.Ref, portList(svc.Ports, d.Port))
	}
	d.Port = port.Number
	if d.Subset != "" {
		if _, ok := upstream.Subset(rs.policies.read(rd, d.Host), d.Subset); !ok {
			return missing(model.ReasonSubsetMissing, "no DestinationRule for %q defines the subset %q; define it or correct the name", d.Host, d.Subset)
		}
	}
	return target{Target: model.Target{Cluster: model.ClusterName(d)}, destination: d}
}

// pickPort finds the port with a number; where the number is only a guess, the
// only port of a service goes before it.
func pickPort(ports []model.ServicePort, number uint32, guess bool) (model.ServicePort, bool) {
	if guess && len(ports) == 1 {
		return ports[0], true
	}
	for _, p := range ports {
		if p.Number == number {
			return p, true
		}
	}
	return model.ServicePort{}, false
}

func portList(ports []model.ServicePort, want uint32) string {
	var have []string
	for _, p := range ports {
		have = append(have, fmt.Sprint(p.Number))
	}
	list := "the ports " + strings.Join(have, ", ")
	if len(have) == 0 {
		list = "no ports"
	}
	if want != 0 {
		list += fmt.Sprintf(", not %d", want)
	}
	return list
}

// place is a destination with all that its cluster is made of.
type place struct {
	service *model.Service
	port    model.ServicePort
	subset  model.Subset
	rules   []*model.DestinationPolicy
}

// placeOf reads what a resolved destination stands on; the service is nil while
// a removal is on its way.
func (rs *rules) placeOf(rd *reader, d model.Destination) (p place) {
	svc := rs.service.read(rd, d.Host)
	if svc == nil {
		return p
	}
	port, ok := pickPort(svc.Ports, d.Port, false)
	if !ok {
		return p
	}
	p = place{service: svc, port: port, rules: rs.policies.read(rd, d.Host)}
	if d.Subset != "" {
		p.subset, _ = upstream.Subset(p.rules, d.Subset)
	}
	return p
}

func (p place) owners() []model.Ref {
	var out []model.Ref
	for _, r := range p.rules {
		out = append(out, r.Ref)
	}
	return append(out, p.service.Ref)
}

// faults are the problems of what a place stands on.
func (p place) faults() []model.Problem {
	out := upstream.Duplicates(p.rules)
	if p.service.Resolution == model.ResolutionNone {
		out = append(out, model.Problem{
			Object: p.service.Ref, Field: "spec.resolution", Reason: model.ReasonNotYetSupported, Severity: model.SeverityError,
			Message: "resolution NONE has no endpoints at a gateway, so requests for it are answered 503; use STATIC or DNS",
		})
	}
	return out
}

func (rs *rules) buildCluster(rd *reader, d model.Destination) resources {
	p := rs.placeOf(rd, d)
	if p.service == nil {
		return resources{}
	}
	in := upstream.ClusterInput{
		Destination: d, Port: p.port, Resolution: p.service.Resolution,
		Labels: p.subset.Labels, LoadBalancer: upstream.LoadBalancer(p.rules, d.Subset),
		Settings: *rs.settings.read(rd, none{}),
	}
	if in.Resolution == model.ResolutionDNS || in.Resolution == model.ResolutionDNSRoundRobin {
		in.Endpoints = rs.endpointsOf(rd, p)
	}
	needs := upstream.Needs(in)
	if len(needs) > 0 {
		rs.endpoints.demand(rd, d)
	}
	out := resourcesOf(part{
		name: model.ResourceName{Type: model.TypeCluster, Name: model.ClusterName(d)}, msg: upstream.Cluster(in),
		needs: needs, owners: p.owners(),
	})
	out.faults = append(out.faults, p.faults()...)
	return out
}

func (rs *rules) buildEndpoints(rd *reader, d model.Destination) resources {
	p := rs.placeOf(rd, d)
	if p.service == nil {
		return resources{}
	}
	return resourcesOf(part{
		name: model.ResourceName{Type: model.TypeEndpoint, Name: model.ClusterName(d)},
		msg: upstream.Endpoints(upstream.EndpointsInput{
			Destination: d, Port: p.port, Endpoints: rs.endpointsOf(rd, p), Labels: p.subset.Labels,
		}),
		owners: p.owners(),
	})
}

// endpointsOf gathers the endpoints of a service from where it keeps them.
func (rs *rules) endpointsOf(rd *reader, p place) []model.Endpoint {
	svc := p.service
	switch {
	case svc.Resolution == model.ResolutionSlices:
		return rs.sliceEndpoints(rd, p)
	case svc.WorkloadSelector != nil:
		return rs.selected(rd, svc)
	}
	return svc.Endpoints
}

// sliceEndpoints gathers the endpoints of one port from the slices of a
// Kubernetes Service.
func (rs *rules) sliceEndpoints(rd *reader, p place) (out []model.Endpoint) {
	svc := model.Ref{Kind: "Service", Namespace: p.service.Ref.Namespace, Name: p.service.Ref.Name}
	for _, ref := range rs.slices.read(rd, svc) {
		s, ok := rs.objects.read(rd, ref).(*model.EndpointSlice)
		if !ok {
			continue
		}
		for _, port := range s.Ports {
			if port.Name != p.port.Name {
				continue
			}
			for _, ep := range s.Endpoints {
				ep.Ports = map[string]uint32{p.port.Name: port.Number}
				out = append(out, ep)
			}
		}
	}
	return out
}

// selected gathers the workloads that carry all labels of a service's selector.
func (rs *rules) selected(rd *reader, svc *model.Service) (out []model.Endpoint) {
	if len(svc.WorkloadSelector) == 0 {
		return nil
	}
	first := slices.Min(slices.Collect(maps.Keys(svc.WorkloadSelector)))
	for _, ref := range rs.workloads.read(rd, selectorKey{svc.Ref.Namespace, first, svc.WorkloadSelector[first]}) {
		w, ok := rs.objects.read(rd, ref).(*model.Workload)
		if ok && carries(w.Endpoint.Labels, svc.WorkloadSelector) {
			out = append(out, w.Endpoint)
		}
	}
	return out
}

// carries reports whether labels has every pair of selector.
func carries(labels, selector map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}
