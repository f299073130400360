package compile

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/sluicegw/sluice/compile/graph"
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

// findPolicies returns the policies of the most specific name that covers a
// host, from the first namespace that has one: that of the fleet, of the
// service, the root. Those that select the fleet by its labels go before those
// for everybody, and older before younger.
//
// Source: Istio looks rules up by client, service and root namespace, and
// prefers a rule with a workloadSelector that matches.
func (rs *rules) findPolicies(rd *graph.Reader, host string) []*model.DestinationPolicy {
	namespaces := []string{rs.fleet.Namespace}
	if svc := rs.service.Read(rd, host); svc != nil {
		namespaces = append(namespaces, svc.Ref.Namespace)
	}
	namespaces = append(namespaces, rs.fleet.RootNamespace)
	byNamespace := map[string][]*model.DestinationPolicy{}
	for name := host; ; name = wider(name) {
		found := map[string][]*model.DestinationPolicy{}
		for _, ref := range rs.policiesByHost.Read(rd, name) {
			if p, ok := rs.objects.Read(rd, ref).(*model.DestinationPolicy); ok && rs.applies(p) {
				found[p.Ref.Namespace] = append(found[p.Ref.Namespace], p)
			}
		}
		for ns, ps := range found {
			if byNamespace[ns] == nil {
				byNamespace[ns] = ps
			}
		}
		if name == "*" {
			break
		}
	}
	for _, ns := range namespaces {
		if out := byNamespace[ns]; len(out) > 0 {
			slices.SortFunc(out, byPrecedence)
			return out
		}
	}
	return nil
}

// byPrecedence orders the policies of one name and namespace.
func byPrecedence(a, b *model.DestinationPolicy) int {
	switch {
	case a.WorkloadSelector != nil && b.WorkloadSelector == nil:
		return -1
	case a.WorkloadSelector == nil && b.WorkloadSelector != nil:
		return 1
	}
	return a.Compare(&b.Meta)
}

// applies reports whether a policy is for the proxies of the fleet.
func (rs *rules) applies(p *model.DestinationPolicy) bool {
	if p.WorkloadSelector != nil && (p.Ref.Namespace != rs.fleet.Namespace || !carries(rs.fleet.Labels, p.WorkloadSelector)) {
		return false
	}
	return p.ExportTo.Shows(rs.fleet.Namespace)
}

// check reports what of an object does not count.
func (rs *rules) check(rd *graph.Reader, ref model.Ref) resources {
	switch o := rs.objects.Read(rd, ref).(type) {
	case *model.DestinationPolicy:
		return rs.checkPolicy(rd, o)
	case *model.Service:
		return rs.checkService(rd, o)
	}
	return resources{}
}

// checkPolicy reports a policy that rules nothing.
func (rs *rules) checkPolicy(rd *graph.Reader, p *model.DestinationPolicy) (out resources) {
	if strings.HasPrefix(p.Host, "*") {
		return out
	}
	warn := func(field, format string, args ...any) {
		out.faults = append(out.faults, model.Problem{
			Object: p.Ref, Field: field, Reason: model.ReasonNotAttached, Severity: model.SeverityWarning, Message: fmt.Sprintf(format, args...),
		})
	}
	switch svc := rs.service.Read(rd, p.Host); {
	case svc == nil:
		warn("spec.host", "no service has the host %q, so this rule does nothing; declare the service or correct the name", p.Host)
	case !rs.applies(p):
		warn("spec", "it is not for this gateway, whose namespace is %s, by its workloadSelector or exportTo", rs.fleet.Namespace)
	case !slices.Contains(rs.policies.Read(rd, p.Host), p):
		warn("metadata.namespace", "rules for %q are taken from the first namespace that has one: %s, %s, %s; move it there or remove the other",
			p.Host, rs.fleet.Namespace, svc.Ref.Namespace, rs.fleet.RootNamespace)
	}
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
func (rs *rules) resolve(rd *graph.Reader, key targetKey) target {
	d := key.destination
	missing := func(r model.Reason, format string, args ...any) target {
		return target{Target: model.Target{Reason: r, Message: fmt.Sprintf(format, args...)}}
	}
	svc := rs.service.Read(rd, d.Host)
	if svc == nil {
		if hidden := rs.servicesByHost.Read(rd, d.Host); len(hidden) > 0 {
			return missing(model.ReasonNotVisible, "%v is not exported to namespace %s, in which the gateway runs; add it to its exportTo", hidden[0], rs.fleet.Namespace)
		}
		return missing(model.ReasonDestinationMissing, "no service has the host %q; declare it as a ServiceEntry or Service, or correct the name", d.Host)
	}
	port, ok := pickPort(svc.Ports, cmp.Or(d.Port, key.listener), d.Port == 0)
	if !ok {
		return missing(model.ReasonPortMissing, "%v has %s; name one of them in destination.port.number", svc.Ref, portList(svc.Ports, d.Port))
	}
	d.Port = port.Number
	policies := rs.policies.Read(rd, d.Host)
	if d.Subset != "" {
		if _, ok := upstream.Subset(policies, d.Subset); !ok {
			return missing(model.ReasonSubsetMissing, "no DestinationRule for %q defines the subset %q; define it or correct the name", d.Host, d.Subset)
		}
	}
	policy := upstream.Effective(policies, d.Subset, d.Port)
	if why := rs.missingCredential(rd, policy.TLS, policyNamespace(policies)); why != "" {
		return missing(model.ReasonCredentialMissing, "the TLS of %v cannot be set up: %s", policies[0].Ref, why)
	}
	t := target{Target: model.Target{Cluster: model.ClusterName(d)}, destination: d}
	if svc.Resolution == model.ResolutionDynamic {
		t.Dynamic = &model.DynamicTarget{Host: d.Host, Port: d.Port}
	}
	if policy.LoadBalancer != nil {
		t.Hash = policy.LoadBalancer.Hash
	}
	t.Stream = streamPolicy(policy)
	return t
}

// streamPolicy is the part of a policy that the TCP proxy carries out, nil if
// there is none.
func streamPolicy(p model.TrafficPolicy) *model.StreamPolicy {
	out := model.StreamPolicy{Tunnel: p.Tunnel}
	if p.ConnectionPool != nil {
		out.IdleTimeout, out.MaxConnectionDuration = p.ConnectionPool.TCPIdleTimeout, p.ConnectionPool.MaxConnectionDuration
	}
	if out == (model.StreamPolicy{}) {
		return nil
	}
	return &out
}

// policyNamespace is where the credentials of policies lie: they are all of one
// namespace.
func policyNamespace(policies []*model.DestinationPolicy) string {
	if len(policies) == 0 {
		return ""
	}
	return policies[0].Ref.Namespace
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
	host    string
	service *service
	port    model.ServicePort
	subset  model.Subset
	rules   []*model.DestinationPolicy
}

// placeOf reads what a resolved destination stands on; the service is nil while
// a removal is on its way.
func (rs *rules) placeOf(rd *graph.Reader, d model.Destination) (p place) {
	svc := rs.service.Read(rd, d.Host)
	if svc == nil {
		return p
	}
	port, ok := pickPort(svc.Ports, d.Port, false)
	if !ok {
		return p
	}
	p = place{host: d.Host, service: svc, port: port, rules: rs.policies.Read(rd, d.Host)}
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
	for _, s := range p.service.parts {
		out = append(out, s.Ref)
	}
	return out
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

func (rs *rules) buildCluster(rd *graph.Reader, d model.Destination) resources {
	p := rs.placeOf(rd, d)
	if p.service == nil {
		return resources{}
	}
	in := upstream.ClusterInput{
		Destination: d, Port: p.port, Resolution: p.service.Resolution, Labels: p.subset.Labels,
		Policy: upstream.Effective(p.rules, d.Subset, d.Port), PolicyNamespace: policyNamespace(p.rules),
		SubjectAltNames: p.service.SubjectAltNames, HealthCheck: p.service.HealthCheck,
		Proxy: rs.fleet.Locality, ProxyLabels: rs.fleet.Labels, Settings: *rs.settings.Read(rd, none{}),
	}
	if in.Resolution == model.ResolutionDNS || in.Resolution == model.ResolutionDNSRoundRobin {
		in.Endpoints = rs.endpointsOf(rd, p)
	}
	needs := upstream.Needs(in)
	var stale []lack
	for _, n := range needs {
		switch n.Type {
		case model.TypeEndpoint:
			rs.endpoints.Demand(rd, d)
		case model.TypeSecret:
			c := model.Credential{Namespace: in.PolicyNamespace, Name: in.Policy.TLS.Credential}
			key := secretKey{c, n.Name == model.SecretName(c, true)}
			rs.secret.Demand(rd, key)
			stale = append(stale, rs.staleOf(rd, key))
		}
	}
	out := resourcesOf(part{
		name: model.ResourceName{Type: model.TypeCluster, Name: model.ClusterName(d)}, msg: upstream.Cluster(in),
		needs: needs, owners: p.owners(),
	})
	out.faults = append(out.faults, p.faults()...)
	for _, f := range upstream.Problems(in) {
		f.Object = p.owners()[0]
		out.faults = append(out.faults, f)
	}
	for _, s := range stale {
		if s.why != "" {
			out.faults = append(out.faults, model.Problem{
				Object: p.owners()[0], Field: "spec.trafficPolicy.tls.credentialName", Reason: s.reason, Severity: model.SeverityError,
				Message: s.why + "; the version before it stays in force",
			})
		}
	}
	return out
}

// staleOf returns why the newest version of a secret is not in force; zero if it
// is.
func (rs *rules) staleOf(rd *graph.Reader, key secretKey) lack {
	c := rs.credential.Read(rd, key.credential)
	if key.ca {
		return c.staleCA
	}
	return c.stalePair
}

func (rs *rules) buildEndpoints(rd *graph.Reader, d model.Destination) resources {
	p := rs.placeOf(rd, d)
	if p.service == nil {
		return resources{}
	}
	return resourcesOf(part{
		name: model.ResourceName{Type: model.TypeEndpoint, Name: model.ClusterName(d)},
		msg: upstream.Endpoints(upstream.EndpointsInput{
			Destination: d, Port: p.port, Endpoints: rs.endpointsOf(rd, p), Labels: p.subset.Labels,
			Policy: upstream.Effective(p.rules, d.Subset, d.Port), Proxy: rs.fleet.Locality, ProxyLabels: rs.fleet.Labels,
		}),
		owners: p.owners(),
	})
}

// endpointsOfPart gathers the endpoints of a port from where an object keeps
// them.
func (rs *rules) endpointsOfPart(rd *graph.Reader, svc *model.Service, port model.ServicePort) []model.Endpoint {
	switch {
	case svc.Resolution == model.ResolutionSlices:
		return rs.sliceEndpoints(rd, svc, port)
	case svc.WorkloadSelector != nil:
		return rs.selected(rd, svc)
	}
	return svc.Endpoints
}

// sliceEndpoints gathers the endpoints of one port from the slices of a
// Kubernetes Service.
func (rs *rules) sliceEndpoints(rd *graph.Reader, svc *model.Service, of model.ServicePort) (out []model.Endpoint) {
	for _, ref := range rs.slices.Read(rd, model.Ref{Kind: "Service", Namespace: svc.Ref.Namespace, Name: svc.Ref.Name}) {
		s, ok := rs.objects.Read(rd, ref).(*model.EndpointSlice)
		if !ok {
			continue
		}
		for _, port := range s.Ports {
			if port.Name != of.Name {
				continue
			}
			for _, ep := range s.Endpoints {
				ep.Ports = map[string]uint32{of.Name: port.Number}
				out = append(out, ep)
			}
		}
	}
	return out
}

// selected gathers the workloads that carry all labels of a service's selector.
func (rs *rules) selected(rd *graph.Reader, svc *model.Service) (out []model.Endpoint) {
	if len(svc.WorkloadSelector) == 0 {
		return nil
	}
	first := slices.Min(slices.Collect(maps.Keys(svc.WorkloadSelector)))
	for _, ref := range rs.workloads.Read(rd, selectorKey{svc.Ref.Namespace, first, svc.WorkloadSelector[first]}) {
		w, ok := rs.objects.Read(rd, ref).(*model.Workload)
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
