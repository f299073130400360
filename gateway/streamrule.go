package gateway

import (
	"fmt"
	"slices"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/sluicegw/sluice/model"
)

// streamRule is a rule of a route set on connections, of TLS or of TCP.
type streamRule struct {
	set        *model.RouteSet
	field      string
	route      []model.WeightedDestination
	fault      bool
	conditions []condition
}

// condition is one match of a rule. Of sni and source, one is used: that of the
// kind of rule.
type condition struct {
	field       string
	port        uint32
	gateways    []model.GatewayRef
	meshOnly    bool
	fault       bool // it takes more than was written, and what it takes is closed
	fromSidecar bool
	subnets     []string
	sni         []string
	source      string
}

// split returns r with its good conditions, and closing with the others, which
// come behind: they take nothing of what r serves.
func (r streamRule) split() []streamRule {
	good, broken := r, r
	good.conditions, broken.conditions, broken.fault = nil, nil, true
	for _, c := range r.conditions {
		if c.fault {
			broken.conditions = append(broken.conditions, c)
		} else {
			good.conditions = append(good.conditions, c)
		}
	}
	return []streamRule{good, broken}
}

func tcpRules(set *model.RouteSet) []streamRule {
	var out []streamRule
	for i := range set.TCP {
		r := &set.TCP[i]
		rule := streamRule{set: set, field: r.Field, route: r.Route, fault: r.Fault != nil}
		for j := range r.Matches {
			m := &r.Matches[j]
			rule.conditions = append(rule.conditions, condition{
				field: m.Field, port: m.Port, gateways: m.Gateways, meshOnly: m.MeshOnly, fault: m.Fault != nil,
				fromSidecar: len(m.SourceLabels) > 0 || m.SourceNamespace != "", subnets: m.Subnets, source: m.SourceSubnet,
			})
		}
		if len(r.Matches) == 0 {
			rule.conditions = []condition{{field: r.Field}}
		}
		out = append(out, rule.split()...)
	}
	return out
}

func tlsRules(set *model.RouteSet) []streamRule {
	var out []streamRule
	for i := range set.TLS {
		r := &set.TLS[i]
		rule := streamRule{set: set, field: r.Field, route: r.Route, fault: r.Fault != nil}
		for j := range r.Matches {
			m := &r.Matches[j]
			rule.conditions = append(rule.conditions, condition{
				field: m.Field, port: m.Port, gateways: m.Gateways, meshOnly: m.MeshOnly, fault: m.Fault != nil,
				fromSidecar: len(m.SourceLabels) > 0 || m.SourceNamespace != "", subnets: m.Subnets, sni: m.SNI,
			})
		}
		out = append(out, rule.split()...)
	}
	return out
}

// chain is a filter chain in the making: connections that satisfy one of keys
// follow rule. It is of one server.
type chain struct {
	server *StreamServer
	rule   *streamRule
	// keys are server names, or at most one source subnet; "*" is any.
	keys []string
	// host is set where TLS ends: the chain is that of its name, keys are of the
	// source. HTTP follows no rule.
	host *TLSHost
}

// sni reports whether c is told apart by server name.
func (c chain) sni() bool { return c.host != nil || c.server.Server.Passthrough }

// prefix is what distinguishes conditions of different kinds with one key.
func (c chain) prefix() string {
	switch {
	case c.host != nil:
		return "tls/" + c.host.Host + "/"
	case c.server.Server.Passthrough:
		return "tls/"
	default:
		return "tcp/"
	}
}

func (c chain) name() string {
	if c.host != nil && c.keys[0] == "*" {
		return "tls/" + c.host.Host
	}
	return c.prefix() + c.keys[0]
}

func (c chain) match() *listenerv3.FilterChainMatch {
	switch {
	case c.host != nil:
		m := sniMatch(c.host.Host)
		if c.keys[0] != "*" {
			m.SourcePrefixRanges = prefixRanges(c.keys)
		}
		return m
	case c.server.Server.Passthrough:
		return sniMatch(c.keys...)
	case c.keys[0] != "*":
		return &listenerv3.FilterChainMatch{SourcePrefixRanges: prefixRanges(c.keys)}
	default:
		return nil
	}
}

// sniMatch matches TLS for names; "*" alone is any.
func sniMatch(names ...string) *listenerv3.FilterChainMatch {
	m := &listenerv3.FilterChainMatch{TransportProtocol: "tls"}
	if names[0] != "*" {
		m.ServerNames = names
	}
	return m
}

// chains returns the chains of c's server and host, the oldest rule first. A chain
// that takes every name stands alone: Envoy says "any" by naming none.
func (s *stream) chains(of chain) []chain {
	var out []chain
	take := func(rule *streamRule, keys ...string) {
		out = append(out, chain{server: of.server, host: of.host, rule: rule, keys: keys})
	}
	for i := range of.server.Bindings {
		b := &of.server.Bindings[i]
		rules := tcpRules(b.Set)
		if of.server.Server.Passthrough {
			rules = tlsRules(b.Set)
		}
		for j := range rules {
			rule := &rules[j]
			for k := range rule.conditions {
				c := &rule.conditions[k]
				if !s.reaches(of.server, b, c) {
					continue
				}
				keys := s.claim(of, rule, c)
				if n := slices.Index(keys, "*"); n >= 0 {
					take(rule, "*")
					keys = slices.Delete(keys, n, n+1)
				}
				if len(keys) > 0 {
					take(rule, keys...)
				}
			}
		}
	}
	return out
}

// reaches reports whether c is about connections to server.
func (s *stream) reaches(server *StreamServer, b *StreamBinding, c *condition) bool {
	if c.meshOnly || c.port != 0 && c.port != s.in.Bind.Port {
		return false
	}
	gateways := b.Gateways
	if len(gateways) == 0 {
		gateways = []model.GatewayRef{{Namespace: server.Gateway.Namespace, Name: server.Gateway.Name}}
	}
	if len(c.gateways) > 0 && !slices.ContainsFunc(c.gateways, func(g model.GatewayRef) bool { return slices.Contains(gateways, g) }) {
		return false
	}
	if c.fromSidecar {
		s.report(b.Set.Ref, model.Problem{
			Field: c.field, Reason: model.ReasonWaitingForMesh, Severity: model.SeverityWarning,
			Message: "sourceLabels and sourceNamespace choose among sidecars, so this match takes no connection at a gateway; remove them to take it",
		})
		return false
	}
	if len(c.subnets) > 0 {
		s.report(b.Set.Ref, model.Problem{
			Field: c.field + ".destinationSubnets", Reason: model.ReasonInvalidValue, Severity: model.SeverityWarning,
			Message: fmt.Sprintf("destinationSubnets %s are ignored, because connections to a gateway have its own address; remove them",
				strings.Join(c.subnets, ", ")),
		})
	}
	return true
}

// claim returns the keys of c at a server that nothing before has, sorted, and
// reports the others.
func (s *stream) claim(of chain, rule *streamRule, c *condition) []string {
	keys := []string{"*"}
	switch {
	case of.server.Server.Passthrough:
		keys = serverNames(of.server.Server, rule.set, c.sni)
	case c.source != "":
		p, ok := subnet(c.source)
		if !ok {
			s.report(rule.set.Ref, model.Problem{
				Field: c.field + ".sourceSubnet", Reason: model.ReasonInvalidValue, Severity: model.SeverityError,
				Message: fmt.Sprintf("sourceSubnet %q is neither a CIDR nor an address, so the match takes no connection; correct it", c.source),
			})
			return nil
		}
		keys = []string{p.String()}
	}
	var out []string
	for _, key := range keys {
		condition := of.prefix() + key
		held, ok := s.holders[condition]
		switch {
		case !ok:
			s.holders[condition] = holder{set: rule.set, field: c.field}
			out = append(out, key)
		case held.set == nil:
			s.ended(rule.set, c, held.host, key)
		case held.set != rule.set || held.field != c.field:
			s.shadowed(rule.set, c, held, key)
		}
	}
	return out
}

// shadowed reports that held has key already, which c asks for.
func (s *stream) shadowed(set *model.RouteSet, c *condition, held holder, key string) {
	what, field := "connections from "+key, c.field
	switch {
	case len(c.sni) > 0:
		what, field = fmt.Sprintf("server name %q", key), c.field+".sniHosts"
	case key == "*":
		what = "every connection that is left"
	}
	p := model.Problem{Field: field, Severity: model.SeverityWarning}
	if held.set == set {
		p.Reason = model.ReasonUnreachableRule
		p.Message = fmt.Sprintf("%s takes %s of port %s before; remove one of the two", held.field, what, s.in.Bind)
	} else {
		p.Reason = model.ReasonIgnoredDuplicate
		p.Message = fmt.Sprintf("%s of the older %s takes %s of port %s; remove one of the two", held.field, held.set.Ref, what, s.in.Bind)
		if len(c.sni) > 0 {
			p.Severity = model.SeverityError
		}
	}
	s.report(set.Ref, p)
}

// serverNames returns what server's hosts and sni have in common, as far as set
// may claim it: sorted, without duplicates, "*" for any.
func serverNames(server *model.Server, set *model.RouteSet, sni []string) []string {
	var out []string
	for _, h := range server.Hosts {
		if h.Namespace != "" && h.Namespace != set.Ref.Namespace {
			continue
		}
		for _, name := range sni {
			if both, ok := model.Narrower(h.DNS, name); ok {
				out = append(out, both)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
