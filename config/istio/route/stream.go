package route

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// streamRules reads the rules for connections that are passed on as bytes.
func (r reader) streamRules(spec *strict.Path, in *networking.VirtualService, v *model.RouteSet) {
	tls, tcp := spec.Field("tls"), spec.Field("tcp")
	for i, rule := range in.GetTls() {
		p := tls.Element(i)
		if out := r.tlsRule(p, rule, v); len(out.Matches) > 0 {
			v.TLS = append(v.TLS, out)
		}
	}
	for i, rule := range in.GetTcp() {
		v.TCP = append(v.TCP, r.tcpRule(tcp.Element(i), rule, v))
	}
}

// tlsRule reads a rule by server name. A match without a server name that can be
// read is left out: it would close the connections of every name. A rule without
// any match takes no connection.
func (r reader) tlsRule(at *strict.Path, in *networking.TLSRoute, v *model.RouteSet) model.TLSRule {
	out := model.TLSRule{Field: at.String()}
	matches := at.Field("match")
	if r.At(at) {
		return out
	}
	if len(in.GetMatch()) == 0 && !r.Any(matches) {
		r.Fail(matches, strict.Missing("match is missing and the rule takes nothing; add one with sniHosts"))
	}
	for i, m := range in.GetMatch() {
		p := matches.Element(i)
		c := r.connection(p, m, v)
		match := model.TLSMatch{
			Field: c.Field, Port: c.Port, Gateways: c.Gateways, MeshOnly: c.MeshOnly,
			SourceLabels: c.SourceLabels, SourceNamespace: c.SourceNamespace, Subnets: c.Subnets,
			SNI: r.serverNames(p.Field("sniHosts"), m.GetSniHosts(), v),
		}
		match.Fault = r.matchFault(p, p.Field("sniHosts"))
		if len(match.SNI) > 0 {
			out.Matches = append(out.Matches, match)
		}
	}
	out.Route, out.Fault = r.streamRoute(at, in.GetRoute())
	return out
}

// serverNames reads the server names of a match, which the hosts of its
// virtual service must cover.
func (r reader) serverNames(at *strict.Path, names []string, v *model.RouteSet) []string {
	if len(names) == 0 && !r.At(at) && !r.Any(at) {
		r.Fail(at, strict.Missing("sniHosts is missing; add the server names that clients ask for"))
	}
	return r.Names(at, names, func(written string) (string, *strict.Finding) {
		name, wrong := check.ParseName(written, check.Form{Wildcard: true})
		if wrong != nil {
			return "", wrong
		}
		for _, host := range v.Hosts {
			if covers(host, name) || covers(host, check.Qualify(name, r.Meta.Ref.Namespace)) {
				return name, nil
			}
		}
		return "", strict.Invalid("no host of this virtual service covers %s; add it to hosts or remove it", strict.Quote(written))
	})
}

// covers reports whether every name of a pattern is one of a host, either of
// which may be a wildcard.
func covers(host, pattern string) bool {
	suffix, wildcard := strings.CutPrefix(host, "*")
	return host == pattern || wildcard && strings.HasSuffix(pattern, suffix)
}

// tcpRule reads a rule by port. A match with a condition that cannot be read
// keeps the others and has a fault.
func (r reader) tcpRule(at *strict.Path, in *networking.TCPRoute, v *model.RouteSet) model.TCPRule {
	out := model.TCPRule{Field: at.String()}
	matches := at.Field("match")
	for i, m := range in.GetMatch() {
		p := matches.Element(i)
		match := r.connection(p, m, v)
		if subnet := m.GetSourceSubnet(); subnet != "" {
			network, wrong := check.Subnet(subnet)
			if !r.Fail(p.Field("sourceSubnet"), wrong) {
				match.SourceSubnet = network
			}
		}
		match.Fault = r.matchFault(p)
		out.Matches = append(out.Matches, match)
	}
	if len(in.GetMatch()) == 0 {
		if fault := r.matchFault(matches); fault != nil {
			out.Matches = []model.TCPMatch{{Field: matches.String(), Fault: fault}}
		}
	}
	out.Route, out.Fault = r.streamRoute(at, in.GetRoute())
	return out
}

// connectionMatch is what the matches of both protocols have.
type connectionMatch interface {
	GetDestinationSubnets() []string
	GetPort() uint32
	GetGateways() []string
	GetSourceLabels() map[string]string
	GetSourceNamespace() string
}

// connection reads the conditions that the matches of both protocols have.
func (r reader) connection(at *strict.Path, in connectionMatch, v *model.RouteSet) model.TCPMatch {
	m := model.TCPMatch{Field: at.String(), Port: r.matchPort(at.Field("port"), in.GetPort())}
	m.Gateways, m.MeshOnly = r.matchGateways(at.Field("gateways"), in.GetGateways())
	m.SourceLabels, m.SourceNamespace = r.source(at, in)
	subnets := at.Field("destinationSubnets")
	m.Subnets = check.Subnets(r.Reader, subnets, in.GetDestinationSubnets())
	if len(m.Subnets) > 0 && len(v.Gateways) > 0 && !m.MeshOnly {
		r.Warn(subnets, strict.Invalid("clients connect to the gateway itself, where the destination's address does not count; remove it"))
	}
	return m
}

// streamRoute reads the destinations of a rule for connections, or why there
// are none.
func (r reader) streamRoute(at *strict.Path, in []*networking.RouteDestination) ([]model.WeightedDestination, *model.RuleFault) {
	route := at.Field("route")
	if len(in) == 0 && !r.Any(route) && !r.At(at) {
		r.Fail(route, strict.Missing("route is missing; add at least one destination"))
	}
	out := r.destinations(route, streamShares(in))
	switch {
	case r.At(at):
		return nil, &model.RuleFault{Reason: r.Own(at)}
	case r.Broken(route) != "":
		return nil, &model.RuleFault{Reason: r.Broken(route)}
	case len(out) == 0: // its field was misspelled
		return nil, &model.RuleFault{Reason: model.ReasonUnknownField}
	}
	return out, nil
}
