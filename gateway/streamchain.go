package gateway

import (
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	snidfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluicegw/sluice/gateway/handshake"
	"github.com/sluicegw/sluice/model"
)

// filterChain returns the chain of c. Its name is its first key and nothing that
// depends on the place of a rule in its object, so that a rule put before it
// does not replace the chain and cut its connections.
func (s *stream) filterChain(c chain) *listenerv3.FilterChain {
	out := &listenerv3.FilterChain{Name: c.name(), FilterChainMatch: c.match()}
	switch {
	case c.host != nil && !s.endTLS(out, c.host):
	case c.host != nil && c.host.isHTTP():
		out.Filters = slices.Concat(s.guardsFor(c), s.manager(c.host))
	default:
		out.Filters = s.forward(c)
	}
	if len(out.Filters) == 0 {
		// Envoy closes the connections of a chain without filters.
		out.TransportSocket, out.TransportSocketConnectTimeout = nil, nil
	}
	return out
}

// forward returns the filters that send bytes as the rule of c says.
func (s *stream) forward(c chain) []*listenerv3.Filter {
	if c.rule == nil {
		return nil
	}
	takers := s.takers(c.rule)
	if len(takers) == 0 {
		return nil
	}
	filters := s.guardsFor(c)
	if resolve := s.sniResolver(c, takers[0]); resolve != nil {
		filters = append(filters, resolve)
	}
	return append(filters, networkFilter("envoy.filters.network.tcp_proxy", s.tcpProxy(takers, s.stat())))
}

// guardsFor returns the guards of c; those that are alike are packed once.
func (s *stream) guardsFor(c chain) []*listenerv3.Filter {
	n := limit(c.server.Server.MaxConnections, s.in.Settings)
	if s.guards[n] == nil {
		s.guards[n] = guards(s.proxyProtocol, n, s.stat())
	}
	if c.host != nil && handshake.Unenforced(s.handshake(c.host)) {
		return append(slices.Clone(s.guards[n]), certifiedClient(s.stat()))
	}
	return slices.Clone(s.guards[n])
}

func (s *stream) stat() string { return statPrefix(model.ListenerName(s.in.Bind)) }

// takers returns the destinations of rule that take a share, and reports what is
// wrong with them. There are none if the rule cannot be served.
func (s *stream) takers(rule *streamRule) []*model.WeightedDestination {
	if rule.fault {
		return nil
	}
	var out []*model.WeightedDestination
	var total uint64
	for i := range rule.route {
		d := &rule.route[i]
		takes := len(rule.route) == 1 || d.Weight > 0
		s.missing(rule.set, d, takes)
		if takes {
			out = append(out, d)
			total += uint64(d.Weight)
		}
	}
	if len(rule.route) == 0 {
		s.report(rule.set.Ref, model.Problem{
			Field: rule.field, Reason: model.ReasonMissingField, Severity: model.SeverityError,
			Message: "the rule has no route, so its connections are closed; give it a destination",
		})
	}
	if len(rule.route) > 1 && (total == 0 || total > math.MaxUint32) {
		s.report(rule.set.Ref, model.Problem{
			Field: rule.field + ".route", Reason: model.ReasonInvalidValue, Severity: model.SeverityError,
			Message: fmt.Sprintf("the weights add up to %d; they must add up to at least 1 and at most %d", total, uint32(math.MaxUint32)),
		})
		return nil
	}
	return out
}

// missing reports d if it does not exist: an error where it takes connections.
func (s *stream) missing(set *model.RouteSet, d *model.WeightedDestination, takes bool) {
	t := s.in.Targets[d.Destination]
	if t.Cluster != "" {
		return
	}
	p := model.Problem{Field: d.Field + ".destination.host", Reason: t.Reason, Message: t.Message, Severity: model.SeverityError}
	switch t.Reason {
	case "":
		p.Reason = model.ReasonDestinationMissing
	case model.ReasonPortMissing:
		p.Field = d.Field + ".destination.port"
	case model.ReasonSubsetMissing:
		p.Field = d.Field + ".destination.subset"
	}
	if p.Message == "" {
		p.Message = fmt.Sprintf("no service has the host %q; declare the service or correct the host", d.Destination.Host)
	}
	if !takes {
		p.Severity = model.SeverityWarning
	}
	s.report(set.Ref, p)
}

// cluster returns the cluster of d, or for a missing one the name it would have.
func (s *stream) cluster(d model.Destination) string {
	if t := s.in.Targets[d]; t.Cluster != "" {
		return t.Cluster
	}
	if d.Port == 0 {
		d.Port = s.in.Bind.Port
	}
	return model.ClusterName(d)
}

// sniResolver resolves the server name for a destination that connects to
// whatever the client asked for; nil if d is none. Only TLS names anything: of
// other connections to such a destination the author hears.
func (s *stream) sniResolver(c chain, d *model.WeightedDestination) *listenerv3.Filter {
	dynamic := s.in.Targets[d.Destination].Dynamic
	if dynamic == nil {
		return nil
	}
	if !c.server.Server.Passthrough || s.in.DNSCache == nil {
		s.report(c.rule.set.Ref, model.Problem{
			Field: d.Field + ".destination.host", Reason: model.ReasonInvalidValue, Severity: model.SeverityError,
			Message: fmt.Sprintf("the host %q stands for the name that the client asks for, and only TLS that is passed through has one; "+
				"choose a host that resolves to an address", d.Destination.Host),
		})
		return nil
	}
	for _, name := range c.keys {
		if !model.Covers(dynamic.Host, name) {
			s.report(c.rule.set.Ref, model.Problem{
				Field: d.Field + ".destination.host", Reason: model.ReasonInvalidValue, Severity: model.SeverityError,
				Message: fmt.Sprintf("the rule takes connections for %q, which %q does not cover, so none is passed on; narrow sniHosts", name, dynamic.Host),
			})
			return nil
		}
	}
	return networkFilter("envoy.filters.network.sni_dynamic_forward_proxy", &snidfpv3.FilterConfig{
		DnsCacheConfig: s.in.DNSCache,
		PortSpecifier:  &snidfpv3.FilterConfig_PortValue{PortValue: dynamic.Port},
	})
}

// tcpProxy forwards to takers by weight. Timeouts, tunnel and hash are those of
// the first, because a connection has them before a destination is picked.
// Access logs will be set here.
func (s *stream) tcpProxy(takers []*model.WeightedDestination, stat string) *tcpproxyv3.TcpProxy {
	proxy := &tcpproxyv3.TcpProxy{StatPrefix: stat}
	first := s.in.Targets[takers[0].Destination]
	if len(takers) == 1 {
		proxy.ClusterSpecifier = &tcpproxyv3.TcpProxy_Cluster{Cluster: s.cluster(takers[0].Destination)}
	} else {
		shares := &tcpproxyv3.TcpProxy_WeightedCluster{}
		for _, d := range takers {
			shares.Clusters = append(shares.Clusters, &tcpproxyv3.TcpProxy_WeightedCluster_ClusterWeight{
				Name: s.cluster(d.Destination), Weight: d.Weight,
			})
		}
		proxy.ClusterSpecifier = &tcpproxyv3.TcpProxy_WeightedClusters{WeightedClusters: shares}
	}
	if first.Hash != nil && first.Hash.SourceIP {
		proxy.HashPolicy = []*typev3.HashPolicy{{PolicySpecifier: &typev3.HashPolicy_SourceIp_{SourceIp: &typev3.HashPolicy_SourceIp{}}}}
	}
	policy := first.Stream
	if policy == nil {
		return proxy
	}
	if policy.IdleTimeout != nil {
		proxy.IdleTimeout = durationpb.New(*policy.IdleTimeout)
	}
	if d := policy.MaxConnectionDuration; d != nil && *d > 0 {
		proxy.MaxDownstreamConnectionDuration = durationpb.New(*d)
	}
	if policy.Tunnel != nil {
		proxy.TunnelingConfig = tunnel(policy.Tunnel)
	}
	return proxy
}

// tunnel asks the destination, which is a proxy, for the target. Envoy reads a
// percent sign in a name as a command, so it is doubled.
func tunnel(t *model.Tunnel) *tcpproxyv3.TcpProxy_TunnelingConfig {
	target := net.JoinHostPort(t.TargetHost, strconv.FormatUint(uint64(t.TargetPort), 10))
	return &tcpproxyv3.TcpProxy_TunnelingConfig{Hostname: strings.ReplaceAll(target, "%", "%%"), UsePost: t.Post}
}
