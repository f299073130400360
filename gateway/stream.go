package gateway

import (
	"fmt"
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	dfpcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	udpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"

	"github.com/sluicegw/sluice/model"
)

// StreamInput is a port that carries bytes: TCP, TLS that ends here or is passed
// through, or UDP.
type StreamInput struct {
	Bind     model.Bind
	Settings model.Settings
	// Servers are the servers of the bind, oldest first, those that end TLS too:
	// their age decides conflicts, their chains come from TLS and OnDemand. One
	// that only those two name counts as the youngest.
	Servers []StreamServer
	// TLS are the hosts whose TLS ends here in a chain of their own, sorted.
	TLS []TLSHost
	// OnDemand takes the TLS of every name that no chain has; nil closes it.
	OnDemand *OnDemand
	// Challenged are the exact hosts that answer TLS-ALPN-01 challenges, sorted.
	Challenged []string
	// Tickets takes the keys of session tickets from [model.SecretTickets].
	Tickets bool
	// Targets holds every destination that the bindings name, exactly as in the
	// rule. A destination that is not in it counts as missing.
	Targets map[model.Destination]model.Target
	// DNSCache is that of [ListenerInput]; nil when no target is dynamic.
	DNSCache *dfpcommonv3.DnsCacheConfig
}

// StreamServer is a server and the route sets that reach it.
type StreamServer struct {
	Gateway  model.Ref
	Server   *model.Server
	Bindings []StreamBinding // oldest first
}

// StreamBinding is a route set and the gateways through which it reaches the
// server; none means the server's own.
type StreamBinding struct {
	Set      *model.RouteSet
	Gateways []model.GatewayRef
}

// StreamListener returns the listener of in, named [model.ListenerName], and
// the problems of its servers and rules, sorted and without duplicates.
//
// A connection goes to the chain with the most specific condition: a server name
// before its wildcards, a longer source subnet before a shorter one. Of rules
// with the same condition the first of the oldest route set has it, and every
// other gets a problem. A rule with a fault, or without a destination that could
// be named, gets a chain that closes: otherwise its connections would fall to a
// wildcard next to it. A missing destination keeps its share, which is closed
// because its cluster does not exist.
//
// A host whose TLS ends here has a chain of its own, so that one more host touches
// no connection of another. If a rule passes the same server name through, the
// older server keeps it. See [TLSHost] and [OnDemand].
//
// The listener is nil when no chain is left. The port is then closed.
func StreamListener(in StreamInput) (*listenerv3.Listener, []model.Problem) {
	s := newStream(in)
	servers := s.taken()
	if len(servers) == 0 {
		return nil, s.sorted()
	}
	if Kind(servers[0].Server.Protocol) == KindUDP {
		l := s.udp(servers[0])
		return l, s.sorted()
	}
	l := s.tcp(servers)
	return l, s.sorted()
}

// taken returns the servers that may share the port, and reports the others.
func (s *stream) taken() []*StreamServer {
	var taken []*StreamServer
	var first []*StreamServer // of each protocol: that alone decides
	for _, server := range s.servers() {
		if other := conflicting(first, server.Server); other != nil {
			s.report(server.Gateway, model.Problem{
				Field: server.Server.Field + ".port", Reason: model.ReasonPortConflict, Severity: model.SeverityError,
				Message: fmt.Sprintf("%s of the older %s holds port %s with protocol %s, which protocol %s cannot share; choose another port",
					other.Server.Field, other.Gateway, s.in.Bind, other.Server.Protocol, server.Server.Protocol),
			})
			continue
		}
		taken = append(taken, server)
		if !slices.ContainsFunc(first, func(t *StreamServer) bool { return t.Server.Protocol == server.Server.Protocol }) {
			first = append(first, server)
		}
	}
	return taken
}

// conflicting returns the oldest server that cannot share the port with another.
func conflicting(taken []*StreamServer, server *model.Server) *StreamServer {
	for _, t := range taken {
		if !Compatible(t.Server, server) {
			return t
		}
	}
	return nil
}

// stream is a listener in the making: what its chains hold, and what is wrong.
type stream struct {
	in       StreamInput
	holders  map[string]holder // by condition; see chain.prefix
	problems []model.Problem
	// Parts that many chains have in common, packed once.
	proxyProtocol *model.ProxyProtocolIn
	managers      map[managerKey][]*listenerv3.Filter
	guards        map[uint32][]*listenerv3.Filter // by limit
}

func newStream(in StreamInput) *stream {
	return &stream{
		in: in, holders: map[string]holder{},
		managers: map[managerKey][]*listenerv3.Filter{}, guards: map[uint32][]*listenerv3.Filter{},
	}
}

// holder is what has a condition: a rule of a route set, a host whose TLS ends
// here, or the chain of all other TLS.
type holder struct {
	set   *model.RouteSet
	field string // of the match
	host  *TLSHost
}

// tcp returns the listener of servers over TCP, nil without a chain.
func (s *stream) tcp(servers []*StreamServer) *listenerv3.Listener {
	l := tcpListener(s.in.Bind, s.in.Settings)
	s.proxyProtocol = s.agreedProxyProtocol(servers)
	inspect, rest := false, false
	chains := s.claims(servers)
	if s.onDemand(servers) {
		chains = s.named(chains)
	}
	for _, c := range chains {
		l.FilterChains = append(l.FilterChains, s.filterChain(c))
		inspect = inspect || c.sni()
		rest = rest || !c.sni()
	}
	if s.onDemand(servers) {
		l.FilterChains = append(l.FilterChains, s.onDemandChain())
		if len(s.in.Challenged) > 0 {
			l.FilterChains = append(l.FilterChains, s.challengeChain(challengeChainName, []string{"*"}))
		}
		matchNames(l, s.in.Challenged)
		inspect = true
	} else {
		l.FilterChains = append(l.FilterChains, s.challengeChains(chains)...)
	}
	if len(l.FilterChains) == 0 {
		return nil
	}
	l.ListenerFilters = listenerFilters(s.proxyProtocol, l.GetStatPrefix())
	if inspect {
		l.ListenerFilters = append(l.ListenerFilters, listenerFilter("envoy.filters.listener.tls_inspector", &tlsinspectorv3.TlsInspector{}))
		// A client that says nothing at all is not TLS.
		l.ContinueOnListenerFiltersTimeout = rest
	}
	return l
}

// agreedProxyProtocol returns what the oldest server says of the PROXY protocol: it
// comes before anything that tells servers apart.
func (s *stream) agreedProxyProtocol(servers []*StreamServer) *model.ProxyProtocolIn {
	oldest := servers[0]
	for _, server := range servers[1:] {
		if !sameProxyProtocol(oldest.Server.ProxyProtocol, server.Server.ProxyProtocol) {
			s.report(server.Gateway, model.Problem{
				Field: server.Server.Field, Reason: model.ReasonIgnoredDuplicate, Severity: model.SeverityWarning,
				Message: fmt.Sprintf("port %s takes the PROXY protocol as %s of the older %s says; say the same here",
					s.in.Bind, oldest.Server.Field, oldest.Gateway),
			})
		}
	}
	return oldest.Server.ProxyProtocol
}

func sameProxyProtocol(a, b *model.ProxyProtocolIn) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.Trusted, b.Trusted)
}

// report adds p about object.
func (s *stream) report(object model.Ref, p model.Problem) {
	p.Object = object
	s.problems = append(s.problems, p)
}

func (s *stream) sorted() []model.Problem {
	slices.SortFunc(s.problems, model.Problem.Compare)
	return slices.Compact(s.problems)
}

// StreamClusters returns the names of the clusters of destinations that l sends
// to, sorted. A nil l has none. Those of missing destinations are among them, the
// one that answers challenges is not.
func StreamClusters(l *listenerv3.Listener) []string {
	var names []string
	proxy := new(tcpproxyv3.TcpProxy)
	for _, chain := range l.GetFilterChains() {
		for _, f := range chain.GetFilters() {
			if !f.GetTypedConfig().MessageIs(proxy) || f.GetTypedConfig().UnmarshalTo(proxy) != nil {
				continue
			}
			if name := proxy.GetCluster(); name != "" && name != model.ClusterChallengeTLS {
				names = append(names, name)
			}
			for _, c := range proxy.GetWeightedClusters().GetClusters() {
				names = append(names, c.GetName())
			}
		}
	}
	for _, f := range l.GetListenerFilters() {
		proxy, route := new(udpproxyv3.UdpProxyConfig), new(udpproxyv3.Route)
		if !f.GetTypedConfig().MessageIs(proxy) || f.GetTypedConfig().UnmarshalTo(proxy) != nil {
			continue
		}
		if proxy.GetMatcher().GetOnNoMatch().GetAction().GetTypedConfig().UnmarshalTo(route) == nil {
			names = append(names, route.GetCluster())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
