package gateway

import (
	"fmt"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	udpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluicegw/sluice/model"
)

// udp returns the listener of a UDP server: all datagrams of a client's address
// and port go to one endpoint of one destination until they cease. Nil without a
// rule to follow.
func (s *stream) udp(server *StreamServer) *listenerv3.Listener {
	s.udpLimits(server)
	chosen := s.udpRule(server)
	if chosen == nil {
		return nil
	}
	takers := s.takers(chosen)
	if len(takers) == 0 {
		return nil
	}
	for _, d := range takers[1:] {
		s.report(chosen.set.Ref, model.Problem{
			Field: d.Field, Reason: model.ReasonInvalidValue, Severity: model.SeverityError,
			Message: fmt.Sprintf("UDP goes to one destination, %s; remove this one", takers[0].Field),
		})
	}
	l := bareListener(s.in.Bind, corev3.SocketAddress_UDP)
	l.UdpListenerConfig = &listenerv3.UdpListenerConfig{}
	l.ListenerFilters = []*listenerv3.ListenerFilter{
		listenerFilter("envoy.filters.udp_listener.udp_proxy", s.udpProxy(takers[0].Destination, l.GetStatPrefix())),
	}
	return l
}

// udpRule returns the rule that takes every client. A condition on the client
// is one that UDP cannot have.
func (s *stream) udpRule(server *StreamServer) *streamRule {
	for _, c := range s.chains(chain{server: server}) {
		if c.keys[0] == "*" {
			return c.rule
		}
		s.report(c.rule.set.Ref, model.Problem{
			Field: c.rule.field, Reason: model.ReasonInvalidValue, Severity: model.SeverityError,
			Message: fmt.Sprintf("sourceSubnet %s cannot be told apart in UDP; remove it", c.keys[0]),
		})
	}
	return nil
}

// udpLimits reports what a server asks for and UDP does not have.
func (s *stream) udpLimits(server *StreamServer) {
	if server.Server.ProxyProtocol != nil {
		s.report(server.Gateway, model.Problem{
			Field: server.Server.Field, Reason: model.ReasonInvalidValue, Severity: model.SeverityError,
			Message: "the PROXY protocol is not taken over UDP; leave it out for this server",
		})
	}
	if server.Server.MaxConnections > 0 {
		s.report(server.Gateway, model.Problem{
			Field: server.Server.Field, Reason: model.ReasonInvalidValue, Severity: model.SeverityWarning,
			Message: fmt.Sprintf("the limit of %d connections has no effect, because UDP has no connections; leave it out", server.Server.MaxConnections),
		})
	}
}

func (s *stream) udpProxy(d model.Destination, stat string) *udpproxyv3.UdpProxyConfig {
	proxy := &udpproxyv3.UdpProxyConfig{
		StatPrefix: stat,
		RouteSpecifier: &udpproxyv3.UdpProxyConfig_Matcher{Matcher: &matcherv3.Matcher{OnNoMatch: &matcherv3.Matcher_OnMatch{
			OnMatch: &matcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
				Name:        "route",
				TypedConfig: pack(&udpproxyv3.Route{Cluster: s.cluster(d)}),
			}},
		}}},
	}
	target := s.in.Targets[d]
	if target.Hash != nil && target.Hash.SourceIP {
		proxy.HashPolicies = []*udpproxyv3.UdpProxyConfig_HashPolicy{{
			PolicySpecifier: &udpproxyv3.UdpProxyConfig_HashPolicy_SourceIp{SourceIp: true},
		}}
	}
	if p := target.Stream; p != nil && p.IdleTimeout != nil && *p.IdleTimeout > 0 {
		proxy.IdleTimeout = durationpb.New(*p.IdleTimeout)
	}
	return proxy
}
